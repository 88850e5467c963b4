/* hoist.c: what is done to an entry's graph once all gradients have been taken.
   Marks and stops, which only gradients look at, go; without them more nodes are equal, and the constructor shares and folds
   them. Loops that differ in their lists of results only become one.  Requires: no gradient is taken afterwards. */
#include "graph.h"

void optimize(Region *r)
{
    *r = *loops_merge(products_order(region_erase(r)));
}
