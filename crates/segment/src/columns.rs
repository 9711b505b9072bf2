//! Converts columns from vectors to Arrow arrays and back.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Decimal128Array, Int64Array, RecordBatch};
use arrow_schema::DataType;

use crate::error::SegmentError;

/// Integers of up to 38 digits. Stored as 64-bit integers if all values of the segment fit, which
/// is nearly always the case. This takes half the bytes before compression and a third of the time
/// to compress.
pub(crate) fn wide(values: &[i128]) -> Result<ArrayRef, arrow_schema::ArrowError> {
    let narrow: Result<Vec<i64>, _> = values.iter().map(|&value| i64::try_from(value)).collect();
    match narrow {
        Ok(narrow) => Ok(Arc::new(Int64Array::from(narrow))),
        Err(_) => decimal(values, 0),
    }
}

/// Decimals with `scale` digits after the decimal point.
pub(crate) fn decimal(values: &[i128], scale: i8) -> Result<ArrayRef, arrow_schema::ArrowError> {
    let array = Decimal128Array::from_iter_values(values.iter().copied());
    Ok(Arc::new(array.with_precision_and_scale(38, scale)?))
}

/// A column of integers as it was read.
#[derive(Debug)]
pub(crate) enum Wide {
    Narrow(Int64Array),
    Decimal(Decimal128Array),
}

impl Wide {
    /// The value in `row`. The caller has checked `row` against the length.
    pub(crate) fn value(&self, row: usize) -> i128 {
        match self {
            Self::Narrow(column) => i128::from(column.value(row)),
            Self::Decimal(column) => column.value(row),
        }
    }
}

/// The column `name` of `batch` as an array of type `T`. It must have no nulls.
pub(crate) fn column<T: Array + Clone + 'static>(
    batch: &RecordBatch,
    name: &'static str,
) -> Result<T, SegmentError> {
    let column = nullable::<T>(batch, name)?;
    if column.null_count() > 0 {
        return Err(SegmentError::Column(name));
    }
    Ok(column)
}

/// The column `name` of `batch` as an array of type `T`.
pub(crate) fn nullable<T: Array + Clone + 'static>(
    batch: &RecordBatch,
    name: &'static str,
) -> Result<T, SegmentError> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_any().downcast_ref::<T>())
        .cloned()
        .ok_or(SegmentError::Column(name))
}

/// The integer column `name`, in either storage type.
pub(crate) fn wide_column(batch: &RecordBatch, name: &'static str) -> Result<Wide, SegmentError> {
    match batch.column_by_name(name).map(|column| column.data_type()) {
        Some(DataType::Int64) => column(batch, name).map(Wide::Narrow),
        _ => column(batch, name).map(Wide::Decimal),
    }
}
