/* optimize.c: what is done to an entry's graph once all gradients have been taken.
   Marks and stops, which only gradients look at, go; without them more nodes are equal, and the constructor shares and folds
   them. Loops that differ in their lists of results only become one; products are put in a good order; what a loop need not
   do turn by turn leaves it; loops over time go lane by lane where they can.  Requires: no gradient is taken afterwards. */
#include "graph.h"

void optimize(Region *r)
{
    Region *s = loops_merge(region_erase(r));
    *r = *lanes_split(loops_hoist(products_order(s)));
}
