//! Writes databases in MaxMind's binary format (MaxMind DB specification, version 2.0).

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::net::IpAddr;

/// A value in the data section of a MaxMind database.
pub enum Value {
    Text(&'static str),
    U16(u16),
    U32(u32),
    U64(u64),
    List(Vec<Value>),
    Map(Vec<(&'static str, Value)>),
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        let head = |out: &mut Vec<u8>, kind: u8, len: usize| {
            let len = u8::try_from(len).unwrap();
            assert!(len < 29);
            if kind < 8 { out.push(kind << 5 | len) } else { out.extend([len, kind - 7]) }
        };
        match self {
            Self::Text(text) => {
                head(out, 2, text.len());
                out.extend(text.as_bytes());
            }
            Self::U16(number) => {
                head(out, 5, 2);
                out.extend(number.to_be_bytes());
            }
            Self::U32(number) => {
                head(out, 6, 4);
                out.extend(number.to_be_bytes());
            }
            Self::U64(number) => {
                head(out, 9, 8);
                out.extend(number.to_be_bytes());
            }
            Self::Map(pairs) => {
                head(out, 7, pairs.len());
                for (key, value) in pairs {
                    Self::Text(key).write(out);
                    value.write(out);
                }
            }
            Self::List(values) => {
                head(out, 11, values.len());
                values.iter().for_each(|value| value.write(out));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Slot {
    Nothing,
    Node(usize),
    Data(usize),
}

/// A database of IPv6 networks, with IPv4 networks in `::/96`.
pub fn mmdb(kind: &'static str, networks: &[(&str, Value)]) -> Vec<u8> {
    let mut tree = vec![[Slot::Nothing; 2]];
    let mut data = Vec::new();
    for (network, record) in networks {
        let (address, prefix) = network.split_once('/').unwrap();
        let prefix: usize = prefix.parse().unwrap();
        let (bits, depth) = match address.parse().unwrap() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), prefix + 96),
            IpAddr::V6(address) => (address.to_bits(), prefix),
        };
        insert(&mut tree, bits, depth, data.len());
        record.write(&mut data);
    }
    let mut out = Vec::new();
    for slot in tree.iter().flatten() {
        let number = match slot {
            Slot::Nothing => tree.len(),
            Slot::Node(node) => *node,
            Slot::Data(offset) => tree.len() + 16 + offset,
        };
        out.extend(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    Value::Map(vec![
        ("binary_format_major_version", Value::U16(2)),
        ("binary_format_minor_version", Value::U16(0)),
        ("build_epoch", Value::U64(1_767_225_600)),
        ("database_type", Value::Text(kind)),
        ("description", Value::Map(vec![])),
        ("ip_version", Value::U16(6)),
        ("languages", Value::List(vec![])),
        ("node_count", Value::U32(u32::try_from(tree.len()).unwrap())),
        ("record_size", Value::U16(24)),
    ])
    .write(&mut out);
    out
}

fn insert(tree: &mut Vec<[Slot; 2]>, bits: u128, depth: usize, offset: usize) {
    let mut node = 0;
    for level in 0..depth {
        let side = usize::from(bits >> (127 - level) & 1 == 1);
        if level + 1 == depth {
            tree[node][side] = Slot::Data(offset);
            return;
        }
        node = match tree[node][side] {
            Slot::Node(next) => next,
            _ => {
                tree.push([Slot::Nothing; 2]);
                tree[node][side] = Slot::Node(tree.len() - 1);
                tree.len() - 1
            }
        };
    }
}
