use super::*;
use turnpike_store::{Following, Member, NodeBeat, PartitionSpec, SegmentPosition};
use turnpike_types::{AccountRange, ClaimId, Priority, SegmentHash, SegmentNumber, Timestamp};

fn row(incarnation: u64, counter: u64) -> NodeRow {
    let beat = NodeBeat {
        node: NodeName("a".to_owned()),
        incarnation: Incarnation(incarnation),
        counter,
        address: "a:1".to_owned(),
        draining: false,
        serving: Vec::new(),
        following: Vec::new(),
    };
    NodeRow { beat, beat_at: Timestamp(0), drain_asked: false }
}

#[test]
fn silence_counts_only_between_successful_reads_of_the_same_front() {
    let gap = Duration::from_secs(1);
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut liveness = HeartbeatAges::default();
    let mut read = |ms, row| liveness.read(at(ms), gap, &[row])[0].as_millis();
    assert_eq!(read(0, row(1, 1)), 0);
    assert_eq!(read(250, row(1, 1)), 250);
    assert_eq!(read(500, row(1, 1)), 500);
    // The counter advances. Then it does not advance while the reader can't read.
    assert_eq!(read(750, row(1, 2)), 0);
    assert_eq!(read(1_000, row(1, 2)), 250);
    assert_eq!(read(9_000, row(1, 2)), 0);
    assert_eq!(read(9_250, row(1, 2)), 250);
    // A new process does not continue the silence of the old one.
    assert_eq!(read(9_500, row(2, 2)), 0);
}

/// Regression: all complaints went to a dead member of high priority, never to the member that
/// could have taken over.
#[test]
fn p16_the_next_member_is_asked_when_the_one_before_it_is_silent_or_was_tried() {
    let id = PartitionId(1);
    let nodes = [("a", 30), ("b", 10), ("c", 20)].map(|(node, priority)| {
        let mut row = row(1, 1);
        row.beat.node = NodeName(node.to_owned());
        row.beat.address = format!("{node}:1");
        let (segment, hash) = (SegmentNumber(1), SegmentHash::default());
        row.beat.following = vec![Following { partition: id, segment, hash }];
        (row, Member { node: NodeName(node.to_owned()), priority: Priority(priority) })
    });
    let (nodes, members): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
    let partition = PartitionRow {
        spec: PartitionSpec {
            id,
            range: AccountRange::new(1, 9).unwrap(),
            horizon_us: 0,
            accept_since: None,
            members,
        },
        epoch: Epoch::stored(7),
        owner: Some((NodeName("a".to_owned()), Incarnation(1))),
        claim: ClaimId::default(),
        next: SegmentPosition { next: SegmentNumber(2), last_hash: SegmentHash::default() },
        released_to: None,
        last_posting: SegmentNumber(0),
        flaps: 0,
        pin: None,
    };
    let partitions = vec![partition];
    let observation = Observation { nodes, partitions, catalogue_version: 0, now: Timestamp(0) };
    let table = |silent: [u64; 3]| {
        let silent = silent.map(Duration::from_secs).to_vec();
        RouteTable::new(1, observation.clone(), silent, &mut BTreeMap::new())
    };
    let suspicion = Duration::from_secs(1);
    let [a, c] = ["a:1", "c:1"].map(str::to_owned);
    let tried = [a, c];
    let ask = |table: &RouteTable, tried: &[String]| {
        (table.stand_in(id, tried, suspicion), table.complaint(id, tried))
    };
    assert_eq!(ask(&table([0, 0, 0]), &tried[..1]), (Some("c:1".to_owned()), Some(7)));
    assert_eq!(ask(&table([0, 0, 0]), &tried), (Some("b:1".to_owned()), Some(7)));
    assert_eq!(ask(&table([0, 0, 2]), &tried[..1]), (Some("b:1".to_owned()), Some(7)));
    // The member that was tried may be out of reach, but the owner was not tried: no complaint.
    assert_eq!(ask(&table([0, 0, 0]), &tried[1..]).1, None);
    assert_eq!(ask(&table([0, 2, 2]), &tried), (None, Some(7)));
}

#[test]
fn an_epoch_below_the_highest_one_seen_is_ignored() {
    let highest = HighestEpoch::default();
    assert!(highest.admits(3));
    assert!(highest.admits(3));
    assert!(!highest.admits(2));
    assert!(highest.admits(4));
    assert!(!highest.admits(3));
}
