//! The table of methods against the descriptors.

use std::collections::BTreeMap;

use prost::Message as _;
use turnpike_listen::METHODS;

#[test]
fn every_method_has_limits_and_no_limit_is_for_nothing() {
    let set = prost_types::FileDescriptorSet::decode(turnpike_proto::DESCRIPTORS).unwrap();
    let mut described = BTreeMap::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                described.insert(path, method.client_streaming());
            }
        }
    }
    assert!(described.len() > 20);
    let own = METHODS.iter().filter(|method| method.path.starts_with("/turnpike."));
    let listed: BTreeMap<_, _> =
        own.map(|method| (method.path.to_owned(), method.client_streams)).collect();
    assert_eq!(listed, described, "add a new method to METHODS with its limits");
    let paths: std::collections::BTreeSet<_> = METHODS.iter().map(|method| method.path).collect();
    assert_eq!(paths.len(), METHODS.len(), "a method is listed once");
}
