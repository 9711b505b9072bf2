//! Checks of links: each leads to an existing port that carries the right kind of value, and no
//! port that needs a link is left without one (docs/plan-semantics.md section 2).

use std::collections::{BTreeMap, BTreeSet};

use crate::language::document::Document;
use crate::language::findings::{Cause, Findings};
use crate::language::graph::{Link, Primitive, SOURCE};
use crate::language::nearest::hint;
use crate::language::spec::{Carries, MayBeUnconnected, Spec};

/// The maximum number of measures that a plan may read. Rating keeps a set of measures as a 64-bit
/// mask.
const MEASURES_MAX: usize = 64;

/// Maximum number of links into one input.
const LINKS_MAX: usize = 512;

/// The source of a link: a measure of the record, or an output of a primitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkSource {
    /// A measure of the record, by its index in [`Wiring::measures`].
    Source(usize),
    /// An output of a primitive, both by index.
    Port { node: usize, output: usize },
}

/// A primitive's links, by the indexes of its type's inputs and outputs.
pub(crate) struct WiredPrimitive {
    pub(crate) spec: &'static Spec,
    pub(crate) inputs: Vec<Vec<LinkSource>>,
    /// For each output, the primitives that consume it; a primitive with several links to the
    /// output appears once for each link.
    pub(crate) takers: Vec<Vec<usize>>,
}

impl WiredPrimitive {
    /// Whether links lead into this primitive, and all of them come from measures of the record.
    pub(crate) fn is_source_fed(&self) -> bool {
        let mut ends = self.inputs.iter().flatten().peekable();
        ends.peek().is_some() && ends.all(|end| matches!(end, LinkSource::Source(_)))
    }
}

/// All links of a plan.
pub(crate) struct Wiring {
    pub(crate) nodes: Vec<WiredPrimitive>,
    /// Names of the measures that links refer to, in document order.
    pub(crate) measures: Vec<String>,
    /// Indexes of the primitives by id.
    pub(crate) places: BTreeMap<String, usize>,
}

impl Wiring {
    pub(crate) fn of(
        document: &Document,
        primitives: &[Primitive],
        findings: &mut Findings,
    ) -> Self {
        let unread = &document.unread;
        let kinds = primitives.iter().map(|primitive| primitive.kind.as_str());
        let specs = kinds.filter_map(|kind| document.vocabulary.find(kind));
        let nodes = specs.map(|spec| WiredPrimitive {
            spec,
            inputs: vec![Vec::new(); spec.inputs.len()],
            takers: vec![Vec::new(); spec.outputs.len()],
        });
        let places: BTreeMap<String, usize> =
            primitives.iter().enumerate().map(|(place, p)| (p.id.clone(), place)).collect();
        let mut wiring =
            Self { nodes: nodes.collect(), measures: Vec::new(), places: BTreeMap::new() };
        for (place, primitive) in primitives.iter().enumerate() {
            wiring.connect(place, primitive, &places, unread, findings);
        }
        for (place, primitive) in primitives.iter().enumerate() {
            // A primitive that could not be read may have been the consumer.
            if unread.is_empty() {
                wiring.check_open(place, primitive, findings);
            }
        }
        wiring.places = places;
        wiring
    }

    fn connect(
        &mut self,
        place: usize,
        primitive: &Primitive,
        places: &BTreeMap<String, usize>,
        unread: &BTreeSet<String>,
        findings: &mut Findings,
    ) {
        let Some(spec) = self.nodes.get(place).map(|node| node.spec) else {
            return;
        };
        for (index, input) in spec.inputs.iter().enumerate() {
            let links = primitive.links(input.name);
            let mut error = |cause, message: String| {
                findings.error(primitive.line, Some(&primitive.id), cause, message);
            };
            if links.is_empty() && input.required {
                error(
                    Cause::OpenInput,
                    format!("{0} has no link: write {0}=\"PRIMITIVE.PORT\"", input.name),
                );
            }
            if links.len() > 1 && !input.many {
                error(
                    Cause::UnknownReference,
                    format!("{} takes one link, not {}", input.name, links.len()),
                );
            }
            if links.len() > LINKS_MAX {
                error(Cause::TooLarge, format!("{} has more than {LINKS_MAX} links", input.name));
                continue;
            }
            for link in
                links.iter().filter(|link| !link.port.is_empty() && !unread.contains(&link.from))
            {
                match self.resolve(link, input.carries, places) {
                    Ok(end) => self.join(place, index, end),
                    Err(message) => error(Cause::UnknownReference, message),
                }
            }
        }
    }

    fn resolve(
        &mut self,
        link: &Link,
        carries: Carries,
        places: &BTreeMap<String, usize>,
    ) -> Result<LinkSource, String> {
        let Link { from, port } = link;
        if link.is_source() {
            if carries != Carries::Usage {
                return Err(format!("record.{port} carries usage, not {}", carries.word()));
            }
            let known = self.measures.iter().position(|measure| measure == port);
            if known.is_none() && self.measures.len() >= MEASURES_MAX {
                return Err(format!(
                    "record.{port} is one measure more than the {MEASURES_MAX} that a plan may read"
                ));
            }
            return Ok(LinkSource::Source(known.unwrap_or_else(|| {
                self.measures.push(port.clone());
                self.measures.len() - 1
            })));
        }
        let node = places.get(from.as_str()).copied();
        let found = node.and_then(|node| Some((node, self.nodes.get(node)?.spec)));
        let Some((node, spec)) = found else {
            let ids = places.keys().map(String::as_str).chain([SOURCE]);
            let hint = hint(from, ids);
            return Err(format!("there is no primitive \"{from}\" to take {port} from{hint}"));
        };
        let Some(output) = spec.output(port) else {
            let ports: Vec<&str> = spec.outputs.iter().map(|output| output.name).collect();
            let has = if ports.is_empty() { "none".to_owned() } else { ports.join(" ") };
            let hint = hint(port, ports.iter().copied());
            return Err(format!("{} \"{from}\" has no port {port}{hint}: it has {has}", spec.name));
        };
        match spec.outputs.get(output) {
            Some(known) if known.carries == carries => Ok(LinkSource::Port { node, output }),
            Some(known) => Err(format!(
                "{from}.{port} carries {}, not {}",
                known.carries.word(),
                carries.word()
            )),
            None => Err(format!("there is no port {from}.{port}")),
        }
    }

    fn join(&mut self, place: usize, input: usize, end: LinkSource) {
        if let LinkSource::Port { node, output } = end
            && let Some(takers) =
                self.nodes.get_mut(node).and_then(|node| node.takers.get_mut(output))
        {
            takers.push(place);
        }
        if let Some(ends) = self.nodes.get_mut(place).and_then(|node| node.inputs.get_mut(input)) {
            ends.push(end);
        }
    }

    fn check_open(&self, place: usize, primitive: &Primitive, findings: &mut Findings) {
        let Some(node) = self.nodes.get(place) else {
            return;
        };
        for (output, takers) in node.spec.outputs.iter().zip(&node.takers) {
            let port = output.name;
            let mut error = |cause, message: String| {
                findings.error(primitive.line, Some(&primitive.id), cause, message);
            };
            let idle = matches!(
                output.open,
                MayBeUnconnected::When(nothing_flows) if nothing_flows(primitive)
            );
            match (output.carries, takers.len()) {
                (Carries::Usage, 0) => {
                    let may = match output.open {
                        MayBeUnconnected::Never => false,
                        MayBeUnconnected::Always => true,
                        MayBeUnconnected::SourceFed => node.is_source_fed(),
                        MayBeUnconnected::When(_) => idle,
                    };
                    if !may {
                        error(
                            Cause::OpenUsage,
                            format!(
                                "no primitive consumes {port}: link it to one, or to an Ignore if its units are free of charge"
                            ),
                        );
                    }
                }
                (Carries::Usage, _) | (Carries::Charge, 1) => {
                    if idle {
                        findings.warn(
                            primitive.line,
                            Some(&primitive.id),
                            format!("nothing ever leaves by {port}"),
                        );
                    }
                }
                (Carries::Charge, 0) => {
                    if !idle {
                        error(
                            Cause::OpenCharge,
                            format!(
                                "{port} reaches no AccountFinalizer: link it to an Adder or a finalizer"
                            ),
                        );
                    }
                }
                (Carries::Charge, 2..) => {
                    error(
                        Cause::ChargeTwice,
                        format!(
                            "{port} has {} consumers: link a charge output to one input only",
                            takers.len()
                        ),
                    );
                }
                (Carries::Level, _) => {}
            }
        }
    }
}
