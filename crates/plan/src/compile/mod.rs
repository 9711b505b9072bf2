//! The compiler: checks a graph and builds its object code.
//!
//! ```text
//! pipeline.rs    language/fill_in.rs -> check/ -> build/
//! check/         wiring, order, units, currencies
//! definition.rs  a primitive type: its declaration, and the function that builds its code
//! build/         numbers streams and charge slots; the interface by which primitives build code
//! defaults.rs    finds values for a plan that does not compile with its defaults
//! ```

pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod defaults;
pub(crate) mod definition;
pub(crate) mod pipeline;
