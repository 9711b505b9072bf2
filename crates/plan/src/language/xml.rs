//! Reads XML into a tree of elements with their line numbers. This module is independent of plans.
//!
//! It refuses documents of more than [`PLAN_XML_BYTES_MAX`] bytes, document types (so no entity
//! definitions), nesting deeper than [`DEPTH_MAX`], elements of another namespace, and text between
//! elements.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;
use turnpike_types::{Must, limits::PLAN_XML_BYTES_MAX};

use crate::language::findings::{Cause, Findings};

/// The namespace of plan documents.
pub(crate) const NAMESPACE: &str = "urn:turnpike:plan:1";
/// Maximum nesting depth of elements.
const DEPTH_MAX: usize = 16;
/// Maximum number of attributes of one element.
const ATTRIBUTES_MAX: usize = 32;

/// An element with its line number, attributes and content.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<XmlNode>,
}

/// The content of an element.
#[derive(Clone, Debug)]
pub(crate) enum XmlNode {
    Element(Element),
    Comment(String),
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|node| match node {
            XmlNode::Element(element) => Some(element),
            XmlNode::Comment(_) => None,
        })
    }
}

/// Why a position in a plan's text is an index of memory.
const IN_TEXT: &str = "the parser reads a text in memory";

/// The root element; `None`, with findings, when the text is not one well-formed document.
pub(crate) fn read(xml: &str, findings: &mut Findings) -> Option<Element> {
    if xml.len() > PLAN_XML_BYTES_MAX {
        let message = format!(
            "the plan has {} bytes, the maximum is {PLAN_XML_BYTES_MAX}: split it",
            xml.len()
        );
        findings.error(1, None, Cause::TooLarge, message);
        return None;
    }
    let mut reader = NsReader::from_str(xml);
    let mut tree = Tree { lines: Lines::of(xml), open: Vec::new(), root: None };
    loop {
        let start = usize::try_from(reader.buffer_position()).must(IN_TEXT);
        let line = tree.lines.at(start);
        let read = match reader.read_resolved_event() {
            Ok((space, event)) => tree.take(&space, event, line),
            Err(error) => {
                let at = usize::try_from(reader.error_position()).must(IN_TEXT);
                let message = format!("not well-formed XML: {error}");
                findings.error(tree.lines.at(at), None, Cause::Malformed, message);
                return None;
            }
        };
        match read {
            Ok(true) => {}
            Ok(false) => return tree.finish(line, findings),
            Err((cause, message)) => {
                findings.error(line, None, cause, message);
                return None;
            }
        }
    }
}

/// The positions of the line breaks, for a binary search of a byte's line.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        Self(breaks.map(|(at, _)| at).collect())
    }

    fn at(&self, byte: usize) -> u32 {
        let before = self.0.partition_point(|&end| end < byte);
        u32::try_from(before + 1).must("a plan has fewer than 2^32 lines")
    }
}

struct Tree {
    lines: Lines,
    open: Vec<Element>,
    root: Option<Element>,
}

type Refusal = (Cause, String);

fn malformed(message: impl Into<String>) -> Refusal {
    (Cause::Malformed, message.into())
}

impl Tree {
    /// Processes one event; returns false at the end of the document.
    fn take(
        &mut self,
        space: &ResolveResult<'_>,
        event: Event<'_>,
        line: u32,
    ) -> Result<bool, Refusal> {
        match event {
            Event::Start(start) => {
                let element = self.element(space, &start, line)?;
                self.open.push(element);
            }
            Event::Empty(start) => {
                let element = self.element(space, &start, line)?;
                self.close(element)?;
            }
            Event::End(_) => {
                let element = self.open.pop().ok_or_else(|| malformed("an end without a start"))?;
                self.close(element)?;
            }
            Event::Text(text) if text.trim().is_empty() => {}
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                return Err(malformed(
                    "text between elements: a plan has elements, attributes and comments only",
                ));
            }
            Event::Comment(text) => {
                if let Some(parent) = self.open.last_mut() {
                    parent.children.push(XmlNode::Comment(text.to_string()));
                }
            }
            Event::DocType(_) => {
                return Err(malformed("a document type is not accepted: remove it"));
            }
            Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return Ok(false),
        }
        Ok(true)
    }

    fn element(
        &self,
        space: &ResolveResult<'_>,
        start: &BytesStart<'_>,
        line: u32,
    ) -> Result<Element, Refusal> {
        let name = start.local_name().into_inner().to_owned();
        if !matches!(space, ResolveResult::Bound(Namespace(bound)) if *bound == NAMESPACE) {
            return Err(malformed(format!(
                "<{name}> is not of the namespace {NAMESPACE}: write xmlns=\"{NAMESPACE}\" on <plan>"
            )));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err((Cause::TooLarge, format!("elements nest deeper than {DEPTH_MAX}")));
        }
        if self.open.is_empty() && self.root.is_some() {
            return Err(malformed("a second root element: write only one <plan>"));
        }
        let attributes = attributes_of(start, &name)?;
        Ok(Element { name, line, attributes, children: Vec::new() })
    }

    fn close(&mut self, element: Element) -> Result<(), Refusal> {
        match self.open.last_mut() {
            Some(parent) => parent.children.push(XmlNode::Element(element)),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn finish(self, line: u32, findings: &mut Findings) -> Option<Element> {
        if let Some(open) = self.open.last() {
            let message = format!("<{}> is never closed", open.name);
            findings.error(open.line, None, Cause::Malformed, message);
            return None;
        }
        if self.root.is_none() {
            findings.error(
                line,
                None,
                Cause::Malformed,
                "the document has no element: write a <plan>",
            );
        }
        self.root
    }
}

fn attributes_of(start: &BytesStart<'_>, element: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    // The XML reader's check for duplicates is quadratic; this check stops at `ATTRIBUTES_MAX`.
    for attribute in start.attributes().with_checks(false) {
        let attribute = attribute.map_err(|error| malformed(format!("<{element}>: {error}")))?;
        let name = attribute.key.0;
        if name == "xmlns" || name.starts_with("xmlns:") {
            continue;
        }
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|error| malformed(format!("<{element} {name}>: {error}")))?;
        if attributes.iter().any(|(known, _)| known == name) {
            return Err(malformed(format!("<{element}> has the attribute {name} twice")));
        }
        if attributes.len() >= ATTRIBUTES_MAX {
            return Err((
                Cause::TooLarge,
                format!("<{element}> has more than {ATTRIBUTES_MAX} attributes"),
            ));
        }
        attributes.push((name.to_owned(), value.into_owned()));
    }
    Ok(attributes)
}

/// A hash of the document's content: attributes sorted by name, comments included; white space
/// between elements and all elements named `without` are excluded
/// (docs/plan-semantics.md section 9).
pub(crate) fn content_hash(root: &Element, without: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hash_element(root, without, &mut hasher);
    *hasher.finalize().as_bytes()
}

/// Hashes an element and its content. Recursion is bounded by [`DEPTH_MAX`].
fn hash_element(element: &Element, without: &str, hasher: &mut blake3::Hasher) {
    hash_text(b'<', &element.name, hasher);
    let mut attributes: Vec<_> = element.attributes.iter().collect();
    attributes.sort();
    for (name, value) in attributes {
        hash_text(b'@', name, hasher);
        hash_text(b'=', value, hasher);
    }
    for child in &element.children {
        match child {
            XmlNode::Element(child) if child.name == without => {}
            XmlNode::Element(child) => hash_element(child, without, hasher),
            XmlNode::Comment(text) => hash_text(b'!', text, hasher),
        }
    }
    hash_text(b'>', "", hasher);
}

/// Hashes a text with its length first, so that different documents hash different bytes.
fn hash_text(tag: u8, text: &str, hasher: &mut blake3::Hasher) {
    hasher.update(&[tag]);
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}
