/*
 * shape.c
 *		Is a column still of the shape that entries were made for?
 *
 * Model: a column that is retyped, and perhaps back, has another row in
 * pg_attribute, which the transaction that made it tells apart.  Row types in
 * its type can be altered only while no column uses them, except for adding
 * and dropping attributes, which older values survive; their shape matters
 * only if the column's own row is another one.
 *
 * Locking: the caller has the table locked.
 *
 * Limits: a shape is a hash.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "shape.h"

/* The transaction that made a column what it is now. */
TransactionId
mdb_shape_altered(Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid),
										Int16GetDatum(attnum));
	TransactionId xid = InvalidTransactionId;

	if (HeapTupleIsValid(tuple))
	{
		xid = HeapTupleHeaderGetRawXmin(tuple->t_data);
		ReleaseSysCache(tuple);
	}
	return xid;
}

static uint32
shape_of_row(Oid type)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	uint32		shape = hash_uint32(type);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		shape = hash_combine(shape, att->attisdropped ? 0 :
							 hash_uint32(att->atttypid));
		if (!att->attisdropped)
			shape = hash_combine(shape, mdb_shape_of_type(att->atttypid));
	}
	ReleaseTupleDesc(desc);
	return shape | 1;			/* never "none" */
}

/* The shape of the row types that values of a type hold; 0: there are none. */
uint32
mdb_shape_of_type(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);

	check_stack_depth();
	if (OidIsValid(element))
		return mdb_shape_of_type(element);
	switch (get_typtype(base))
	{
		case TYPTYPE_COMPOSITE:
			return shape_of_row(base);
		case TYPTYPE_RANGE:
			return mdb_shape_of_type(get_range_subtype(base));
		case TYPTYPE_MULTIRANGE:
			return mdb_shape_of_type(get_multirange_range(base));
		default:
			return 0;
	}
}
