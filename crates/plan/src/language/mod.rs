//! The language of plans: what an author writes, and what is read from it. This folder knows no
//! primitive; the declarations of the primitive types are given to it as a vocabulary.
//!
//! ```text
//!  plan.xml
//!     |  xml.rs         a tree of elements with their line numbers
//!     |  read.rs        head, parameters, measures, primitives; elements.rs: checks of an element
//!     |  example/       expected results of sample usage
//!     v
//!  Document (document.rs)  the plan as written
//!     |  fill_in.rs     fills in parameters and defaults, checks the syntax of each value
//!     v
//!  Primitive (graph.rs)    -> compile/ -> Plan (plan.rs), a plan that passed all checks
//!
//!  spec.rs     the declaration of a primitive type, and the vocabulary of all types
//!  values.rs   the syntax of values    measure.rs  units and quantities   price.rs  exact prices
//!  findings.rs errors and warnings     nearest.rs  spelling hints         table_name.rs
//! ```

pub(crate) mod document;
pub(crate) mod elements;
pub(crate) mod example;
pub(crate) mod fill_in;
pub(crate) mod findings;
pub(crate) mod graph;
pub(crate) mod measure;
pub(crate) mod nearest;
pub(crate) mod plan;
pub(crate) mod price;
pub(crate) mod read;
pub(crate) mod spec;
pub(crate) mod table_name;
pub(crate) mod values;
pub(crate) mod xml;
