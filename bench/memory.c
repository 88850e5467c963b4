/* memory.c: what the machine's memory gives to the plainest loop that moves as much as each step of memory.nl: a and b
   are read, a is written, each larger than any cache. Prints the milliseconds of the fastest of many runs.
   usage: OMP_NUM_THREADS=N memory [ROUNDS] */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    enum { N = 16384 * 1024 };
    float *a = malloc(N * sizeof *a), *b = malloc(N * sizeof *b);
    double best = 0;
    if (!a || !b)
        return 1;
#pragma omp parallel for
    for (long i = 0; i < N; i++)
        a[i] = b[i] = (float)i;
    for (int r = 0; r < (argc > 1 ? atoi(argv[1]) : 25); r++) {
        double start = omp_get_wtime();
#pragma omp parallel for
        for (long i = 0; i < N; i++)
            a[i] = 0.5f * b[i] + 0.1f * a[i];
        double spent = omp_get_wtime() - start;
        best = best == 0 || spent < best ? spent : best;
    }
    printf("%.3f\n", 1e3 * best);
    return 0;
}
