//! The definition of a primitive type: its declaration, and the function that builds its code.

use crate::compile::build::Builder;
use crate::language::findings::Refused;
use crate::language::graph::Primitive;
use crate::language::spec::Spec;

/// The definition of a primitive type.
pub(crate) struct Definition {
    pub(crate) spec: Spec,
    /// Checks the primitive's properties after the generic checks have passed, and builds its code.
    pub(crate) build: fn(&Primitive, &mut Builder<'_>) -> Built,
}

/// The result of building a primitive; on an error, the findings contain the reason.
pub(crate) type Built = Result<(), Refused>;
