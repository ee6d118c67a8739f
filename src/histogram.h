/*
 * histogram.h
 *		Histograms with the buckets that Prometheus has.
 */
#ifndef MDB_HISTOGRAM_H
#define MDB_HISTOGRAM_H

#define MDB_NBUCKETS	13		/* the last one is without bound */

typedef enum MdbMetric
{
	MDB_BATCH_SIZE,				/* entries of a flush */
	MDB_BATCH_UTILIZATION,		/* written rows per notified value in a flush */
	MDB_FLUSH_DURATION			/* seconds */
} MdbMetric;

typedef struct MdbHistogram
{
	int64		count;
	double		sum;
	int64		buckets[MDB_NBUCKETS];	/* each on its own, not cumulative */
} MdbHistogram;

extern double mdb_histogram_bound(MdbMetric metric, int bucket);
extern void mdb_histogram_observe(MdbHistogram *histogram, MdbMetric metric,
								  double value);
extern void mdb_histogram_add(MdbHistogram *into, const MdbHistogram *from);

#endif							/* MDB_HISTOGRAM_H */
