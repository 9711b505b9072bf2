//! Counts the elements of a message before it is decoded: an element of two bytes can take hundreds
//! when it is decoded.

use std::collections::HashMap;
use std::sync::OnceLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tonic::Status;
use turnpike_proto::wire::{Fields, WireError, WireValue};

use crate::methods::MethodLimits;
use crate::refusal::refused;

/// Messages are nested at most this deep in `proto/`.
const DEPTH_MAX: usize = 16;
/// A text or bytes, decoded, without its content: the content is counted as received.
const TEXT_BYTES: usize = 32;
/// A list or a map that is empty.
const LIST_BYTES: usize = 24;
const SCALAR_BYTES: usize = 16;

/// A type of message.
#[derive(Debug, Default)]
struct MessageShape {
    /// The size of a decoded message in bytes, without what is in its lists, texts and maps.
    bytes: usize,
    /// The fields in which elements are counted, by number.
    fields: HashMap<u32, FieldShape>,
}

#[derive(Clone, Copy, Debug)]
struct FieldShape {
    /// The size of an element in bytes, if the field is repeated.
    element_bytes: Option<usize>,
    /// The type of the message in the field, if it has elements itself.
    message: Option<usize>,
}

/// The types of all requests.
#[derive(Debug, Default)]
struct Shapes {
    messages: Vec<MessageShape>,
    /// The index of each request's type, by the path of its method.
    requests: HashMap<String, usize>,
}

/// The elements of a message.
#[derive(Debug)]
struct Counted {
    elements: usize,
    bytes: usize,
    elements_max: usize,
}

/// The bytes that the elements of `message` take when it is decoded, besides its own.
///
/// # Errors
/// The message has more elements than the method takes, or is no protobuf message.
pub(crate) fn decoded_bytes(limits: &MethodLimits, message: &[u8]) -> Result<usize, Status> {
    let Some(elements_max) = limits.elements_max else { return Ok(0) };
    let shapes = shapes();
    let Some(request) = shapes.requests.get(limits.path) else { return Ok(0) };
    let mut counted = Counted { elements: 0, bytes: 0, elements_max };
    match shapes.count(*request, message, DEPTH_MAX, &mut counted) {
        Ok(()) if counted.elements <= elements_max => Ok(counted.bytes),
        Ok(()) => {
            refused("elements");
            Err(Status::out_of_range(format!(
                "a message of more than {elements_max} elements; {} takes at most that many: \
                 send smaller messages",
                limits.path
            )))
        }
        Err(error) => {
            refused("encoding");
            Err(Status::internal(format!("failed to decode Protobuf message: {error}")))
        }
    }
}

/// Whether requests of the method contain elements.
#[cfg(test)]
fn has_elements(path: &str) -> bool {
    let shapes = shapes();
    shapes.requests.get(path).is_some_and(|request| !shapes.messages[*request].fields.is_empty())
}

impl Shapes {
    /// Counts the elements in `bytes`, at most one above the maximum.
    fn count(
        &self,
        message: usize,
        bytes: &[u8],
        depth: usize,
        counted: &mut Counted,
    ) -> Result<(), WireError> {
        let shape = &self.messages[message];
        if shape.fields.is_empty() {
            return Ok(());
        }
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next_field()? {
            let Some(field) = shape.fields.get(&number) else { continue };
            if let Some(element_bytes) = field.element_bytes {
                counted.elements += 1;
                // A growing list has up to twice its size.
                counted.bytes += 2 * element_bytes;
                if counted.elements > counted.elements_max {
                    return Ok(());
                }
            }
            if let (Some(message), WireValue::Bytes(inner)) = (field.message, value) {
                let depth = depth.checked_sub(1).ok_or(WireError::BadField)?;
                self.count(message, inner, depth, counted)?;
            }
        }
        Ok(())
    }
}

fn shapes() -> &'static Shapes {
    static SHAPES: OnceLock<Shapes> = OnceLock::new();
    SHAPES.get_or_init(|| {
        // A build script wrote the descriptors; a test decodes them.
        FileDescriptorSet::decode(turnpike_proto::DESCRIPTORS)
            .map_or_else(|_| Shapes::default(), |set| Reading::new(&set).shapes(&set))
    })
}

/// Derives the shapes of messages from descriptors.
struct Reading<'a> {
    described: HashMap<String, &'a DescriptorProto>,
    indexes: HashMap<String, usize>,
    shapes: Shapes,
}

impl<'a> Reading<'a> {
    fn new(set: &'a FileDescriptorSet) -> Self {
        let mut described = HashMap::new();
        for file in &set.file {
            for message in &file.message_type {
                describe(&format!(".{}", file.package()), message, &mut described);
            }
        }
        Self { described, indexes: HashMap::new(), shapes: Shapes::default() }
    }

    fn shapes(mut self, set: &FileDescriptorSet) -> Shapes {
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let index = self.message(method.input_type());
                    self.shapes.requests.insert(path, index);
                }
            }
        }
        self.shapes
    }

    /// The index of a message's shape.
    fn message(&mut self, name: &str) -> usize {
        if let Some(index) = self.indexes.get(name) {
            return *index;
        }
        let index = self.shapes.messages.len();
        self.shapes.messages.push(MessageShape::default());
        self.indexes.insert(name.to_owned(), index);
        let Some(described) = self.described.get(name).copied() else { return index };
        let mut bytes = 0;
        let mut choices: HashMap<i32, usize> = HashMap::new();
        for field in &described.field {
            let (in_place, shape) = self.field(field);
            match field.oneof_index {
                Some(choice) => {
                    let largest = choices.entry(choice).or_default();
                    *largest = in_place.max(*largest);
                }
                None => bytes += in_place,
            }
            if shape.element_bytes.is_some() || shape.message.is_some() {
                self.shapes.messages[index].fields.insert(field.number().cast_unsigned(), shape);
            }
        }
        self.shapes.messages[index].bytes = bytes + choices.values().sum::<usize>();
        index
    }

    /// The size of a field within its message, and its shape.
    fn field(&mut self, field: &FieldDescriptorProto) -> (usize, FieldShape) {
        let (one, message) = match field.r#type() {
            Type::Message | Type::Group => {
                let message = self.message(field.type_name());
                let shape = &self.shapes.messages[message];
                let bytes = shape.bytes + SCALAR_BYTES;
                (bytes, (!shape.fields.is_empty()).then_some(message))
            }
            Type::String | Type::Bytes => (TEXT_BYTES, None),
            _ => (SCALAR_BYTES, None),
        };
        if field.label() == Label::Repeated {
            (LIST_BYTES, FieldShape { element_bytes: Some(one), message })
        } else {
            (one, FieldShape { element_bytes: None, message })
        }
    }
}

fn describe<'a>(
    outer: &str,
    message: &'a DescriptorProto,
    described: &mut HashMap<String, &'a DescriptorProto>,
) {
    let name = format!("{outer}.{}", message.name());
    for inner in &message.nested_type {
        describe(&name, inner, described);
    }
    described.insert(name, message);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_proto::account::v1::{AccountCommand, IdentityAt, IdentityBinding};
    use turnpike_proto::feed::v1::Cursor;
    use turnpike_proto::node::v1::{NotedRefusal, Reassignment, RecycleKey};

    use super::*;
    use crate::methods::METHODS;

    #[test]
    fn every_method_whose_requests_have_elements_bounds_them() {
        let with_elements: Vec<_> =
            METHODS.iter().filter(|method| has_elements(method.path)).collect();
        assert!(with_elements.len() > 8, "{with_elements:?}");
        let unbounded: Vec<_> = with_elements
            .iter()
            .filter(|method| method.elements_max.is_none_or(|max| max == 0))
            .map(|method| method.path)
            .collect();
        // Their batches are not decoded as a whole.
        let by_record = [
            "/turnpike.ingest.v1.IngestService/Ingest",
            "/turnpike.ingest.v1.IngestService/IngestOnce",
            "/turnpike.node.v1.NodeService/Forward",
        ];
        assert_eq!(unbounded, by_record, "give it a number of elements in METHODS");
    }

    #[test]
    fn an_element_counts_at_least_what_it_takes_when_it_is_decoded() {
        let set = FileDescriptorSet::decode(turnpike_proto::DESCRIPTORS).unwrap();
        let mut shapes = Reading::new(&set);
        let types = [
            (".turnpike.account.v1.AccountCommand", size_of::<AccountCommand>()),
            (".turnpike.account.v1.IdentityBinding", size_of::<IdentityBinding>()),
            (".turnpike.account.v1.IdentityAt", size_of::<IdentityAt>()),
            (".turnpike.feed.v1.Cursor", size_of::<Cursor>()),
            (".turnpike.node.v1.RecycleKey", size_of::<RecycleKey>()),
            (".turnpike.node.v1.NotedRefusal", size_of::<NotedRefusal>()),
            (".turnpike.node.v1.Reassignment", size_of::<Reassignment>()),
        ];
        for (name, size) in types {
            let index = shapes.message(name);
            let counted = shapes.shapes.messages[index].bytes;
            assert!((size..=4 * size).contains(&counted), "{name}: {counted} for {size} bytes");
        }
    }
}
