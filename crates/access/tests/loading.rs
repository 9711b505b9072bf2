//! Files of certificates: what is refused, and what happens when they change.

use std::path::Path;

use turnpike_access::certificates::{
    Authority, AuthorityError, CertificateUse, PeerFault, Reloaded,
};

use crate::pki::{Ca, Disk, HOUR, at, now_s};

use CertificateUse::{Client, Front, Node};

#[test]
fn files_that_fit_together_are_used() {
    let ca = Ca::new("c");
    for (uri, usage) in [
        ("spiffe://c/node/a", Node),
        ("spiffe://c/front/a", Front),
        ("spiffe://c/client/a", Client),
        ("spiffe://c/node/a", Client),
    ] {
        let certificates = Disk::of(&ca.issue(uri), &[&ca]).load(usage, None, None).unwrap();
        assert_eq!(certificates.uri().unwrap().to_string(), uri);
        assert_eq!(certificates.cluster(), Some("c"));
        assert_eq!(certificates.source().is_some(), usage != Client);
    }
}

/// The message of the refusal, for a node `a` of cluster `c`.
#[track_caller]
fn refusal(change: impl FnOnce(&Disk, &Ca)) -> String {
    let ca = Ca::new("c");
    let disk = Disk::of(&ca.issue("spiffe://c/node/a"), &[&ca]);
    disk.load(Node, Some("c"), Some("a")).unwrap();
    change(&disk, &ca);
    disk.load(Node, Some("c"), Some("a")).unwrap_err().to_string()
}

#[test]
fn files_that_do_not_fit_are_refused_with_the_file_and_the_remedy() {
    let own = |uri: &'static str| move |disk: &Disk, ca: &Ca| disk.set_own(&ca.issue(uri));
    let cases: [(&str, &str, String); 18] = [
        ("own.key", "can't be read", refusal(|disk, _| disk.remove("own.key"))),
        ("own.crt", "contains no certificate", refusal(|disk, _| disk.write("own.crt", ""))),
        (
            "own.crt",
            "damaged or incomplete",
            refusal(|disk, ca| {
                disk.write("own.crt", &ca.issue("spiffe://c/node/a").certificate[..200]);
            }),
        ),
        ("own.key", "contains no private key", refusal(|disk, _| disk.write("own.key", "x"))),
        (
            "own.key",
            "does not belong to the certificate in own.crt",
            refusal(|disk, ca| disk.write("own.key", &ca.issue("spiffe://c/node/a").key)),
        ),
        (
            "own.crt",
            "turnpike cert renew",
            refusal(|disk, ca| {
                disk.set_own(&ca.issue_from("spiffe://c/node/a", now_s() - 7200));
            }),
        ),
        (
            "own.crt",
            "check the clock",
            refusal(|disk, ca| {
                disk.set_own(&ca.issue_from("spiffe://c/node/a", now_s() + 7200));
            }),
        ),
        (
            "own.crt",
            "add the certificate of the authority that issued it to ca.crt",
            refusal(|disk, _| disk.set_authorities(&[&Ca::new("c")])),
        ),
        ("ca.crt", "contains no certificate", refusal(|disk, _| disk.write("ca.crt", "\n"))),
        (
            "ca.crt",
            "not an authority's certificate",
            refusal(|disk, ca| {
                let leaf = ca.issue("spiffe://c/node/a");
                disk.write("ca.crt", &(ca.made.certificate.clone() + &leaf.certificate));
            }),
        ),
        ("own.crt", "it is an authority's", refusal(|disk, ca| disk.set_own(&ca.made))),
        ("own.crt", "turnpike cert issue node a", refusal(own("spiffe://c/front/a"))),
        ("own.crt", "turnpike cert issue node a", refusal(own("spiffe://c/client/a"))),
        ("own.crt", "turnpike cert issue node a", refusal(own("spiffe://c/node/b"))),
        ("own.crt", "the cluster is c", refusal(own("spiffe://d/node/a"))),
        ("own.crt", "it has none", refusal(|disk, ca| disk.set_own(&ca.with_uris(&[])))),
        (
            "own.crt",
            "it has several",
            refusal(|disk, ca| {
                disk.set_own(&ca.with_uris(&["spiffe://c/node/a", "spiffe://d/node/a"]));
            }),
        ),
        (
            "own.crt",
            "spiffe://CLUSTER/KIND/NAME",
            refusal(|disk, ca| disk.set_own(&ca.with_uris(&["spiffe://c/root/a"]))),
        ),
    ];
    for (file, words, told) in cases {
        assert!(told.contains(file) && told.contains(words), "{words:?}: {told}");
    }
}

/// Reads the files twice: a change comes into force when two reads agree.
fn reread(certificates: &turnpike_access::certificates::Certificates) -> Reloaded {
    assert_eq!(certificates.poll(), Reloaded::Changing);
    certificates.poll()
}

#[test]
fn changed_files_are_in_force_after_two_reads_that_agree() {
    let ca = Ca::new("c");
    let disk = Disk::of(&ca.issue_from("spiffe://c/node/a", now_s() - 600), &[&ca]);
    let certificates = disk.of_use(Node);
    let before = certificates.not_after_s().unwrap();
    assert_eq!(certificates.poll(), Reloaded::Unchanged);
    disk.set_own(&ca.issue("spiffe://c/node/a"));
    assert_eq!(reread(&certificates), Reloaded::Renewed);
    assert!(certificates.not_after_s().unwrap() > before);
    assert_eq!(certificates.poll(), Reloaded::Unchanged);
}

#[test]
fn a_file_that_is_being_written_is_not_taken_for_a_whole_one() {
    let (old, new) = (Ca::new("c"), Ca::new("c"));
    let disk = Disk::of(&old.issue("spiffe://c/node/a"), &[&old, &new]);
    let certificates = disk.of_use(Node);
    // A part of the authorities is valid by itself, and would refuse half of the members.
    disk.set_authorities(&[&old]);
    assert_eq!(certificates.poll(), Reloaded::Changing);
    disk.set_authorities(&[&old, &new]);
    assert_eq!(certificates.poll(), Reloaded::Unchanged);
    // A certificate whose key is written a moment later.
    let next = new.issue("spiffe://c/node/a");
    disk.write("own.crt", &next.certificate);
    assert_eq!(certificates.poll(), Reloaded::Changing);
    disk.write("own.key", &next.key);
    assert_eq!(certificates.poll(), Reloaded::Changing);
    assert_eq!(certificates.poll(), Reloaded::Renewed);
}

#[test]
fn a_bad_change_leaves_the_certificates_in_force_and_is_reported_once() {
    let ca = Ca::new("c");
    let good = ca.issue("spiffe://c/node/a");
    let disk = Disk::of(&good, &[&ca]);
    let certificates = disk.of_use(Node);
    let (uri, until) = (certificates.uri(), certificates.not_after_s());
    for bad in [
        ca.issue("spiffe://c/node/b"),
        ca.issue("spiffe://d/node/a"),
        ca.issue("spiffe://c/front/a"),
        ca.issue_from("spiffe://c/node/a", now_s() - 7200),
        Ca::new("c").issue("spiffe://c/node/a"),
    ] {
        disk.set_own(&bad);
        let outcome = reread(&certificates);
        assert!(matches!(outcome, Reloaded::Kept(_)), "{outcome:?}");
        assert_eq!(certificates.poll(), Reloaded::StillKept);
        assert_eq!((certificates.uri(), certificates.not_after_s()), (uri.clone(), until));
        assert!(certificates.source().is_some());
    }
    disk.remove("own.key");
    assert!(matches!(certificates.poll(), Reloaded::Kept(_)));
    disk.set_own(&good);
    assert_eq!(certificates.poll(), Reloaded::Unchanged, "the operator put the files back");
}

#[test]
fn an_authority_that_has_expired_is_trusted_no_more() {
    let (ca, old) = (Ca::new("c"), Ca::until("c", now_s() - 60));
    // The old authority's key signs, after its end, a certificate that does not end with it.
    let late = old.odd(|params| {
        params.subject_alt_names =
            vec![rcgen::SanType::URI("spiffe://c/node/a".try_into().unwrap())];
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    });
    let told = Disk::of(&late, &[&old]).load(Node, None, None).unwrap_err().to_string();
    assert!(told.contains("all authorities in ca.crt have expired"), "{told}");
    let told = Disk::of(&late, &[&ca, &old]).load(Node, None, None).unwrap_err().to_string();
    assert!(told.contains("no trusted authority issued it"), "{told}");
}

#[test]
fn files_that_change_at_each_read_are_reported() {
    let ca = Ca::new("c");
    let disk = Disk::of(&ca.issue("spiffe://c/node/a"), &[&ca]);
    let certificates = disk.of_use(Node);
    let outcomes: Vec<Reloaded> = (0..40)
        .map(|_| {
            disk.set_own(&ca.issue("spiffe://c/node/a"));
            certificates.poll()
        })
        .collect();
    assert_eq!(outcomes[0], Reloaded::Changing);
    assert!(matches!(outcomes[39], Reloaded::Kept(_)), "{:?}", outcomes[39]);
}

#[test]
fn an_authority_issues_nothing_outside_its_validity_and_nothing_that_outlives_it() {
    let ca = Ca::new("c");
    let end_s = ca.made.facts.not_after_s;
    let near = ca.issue_from("spiffe://c/node/a", end_s - 60);
    assert_eq!(near.facts.not_after_s, end_s, "an hour was asked for");
    let request = turnpike_access::certificates::CertificateRequest::like(&near.facts, HOUR);
    let refused =
        |seconds: u64| ca.authority.issue(request.as_ref().unwrap(), at(seconds)).unwrap_err();
    assert!(matches!(
        refused(end_s + 1),
        AuthorityError::NotValid { fault: PeerFault::Expired { .. }, .. }
    ));
    assert!(matches!(
        refused(now_s() - 360_000),
        AuthorityError::NotValid { fault: PeerFault::NotYetValid { .. }, .. }
    ));
}

#[test]
fn only_an_authority_with_its_own_key_issues_certificates() {
    let (ca, other) = (Ca::new("c"), Ca::new("c"));
    let leaf = ca.issue("spiffe://c/node/a");
    let read = |certificate: &str, key: &str| {
        let (certificate, key) = (certificate.as_bytes(), key.as_bytes());
        Authority::read((Path::new("ca.crt"), certificate), (Path::new("ca.key"), key))
    };
    assert!(read(&ca.made.certificate, &ca.made.key).is_ok());
    for (certificate, key) in [
        (&ca.made.certificate, &other.made.key),
        (&leaf.certificate, &leaf.key),
        (&(ca.made.certificate.clone() + &other.made.certificate), &ca.made.key),
    ] {
        assert!(read(certificate, key).is_err());
    }
}
