/*
 * histogram.c
 *		Histograms with the buckets that Prometheus has.
 *
 * Model: fixed bounds per metric, counters per bucket.  Reading makes them
 * cumulative.
 *
 * Locking: the caller's.  Nothing here allocates or can ERROR.
 */
#include "postgres.h"

#include "utils/float.h"

#include "histogram.h"

static const double bounds[][MDB_NBUCKETS - 1] = {
	[MDB_BATCH_SIZE] =
	{1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000},
	[MDB_BATCH_UTILIZATION] =
	{1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100},
	[MDB_FLUSH_DURATION] =
	{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15}
};

/* The upper bound of a bucket, itself included. */
double
mdb_histogram_bound(MdbMetric metric, int bucket)
{
	if (bucket == MDB_NBUCKETS - 1)
		return get_float8_infinity();
	return bounds[metric][bucket];
}

void
mdb_histogram_observe(MdbHistogram *histogram, MdbMetric metric, double value)
{
	int			bucket = 0;

	while (bucket < MDB_NBUCKETS - 1 && value > bounds[metric][bucket])
		bucket++;
	histogram->buckets[bucket]++;
	histogram->count++;
	histogram->sum += value;
}

void
mdb_histogram_add(MdbHistogram *into, const MdbHistogram *from)
{
	into->count += from->count;
	into->sum += from->sum;
	for (int i = 0; i < MDB_NBUCKETS; i++)
		into->buckets[i] += from->buckets[i];
}
