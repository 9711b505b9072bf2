//! Checks which binding determines the account of a record, against a naive model: of all bindings
//! in force that contain the address, the one with the longest prefix.

use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{BindOutcome, Binding, IdentityStore as _};

use super::*;

/// The addresses 192.0.2.0 to 192.0.2.15: few enough that prefixes overlap.
const NETWORK: u32 = 0xc000_0200;

#[derive(Clone, Debug)]
struct Drawn {
    host: u32,
    length: u8,
    from: i64,
    span: i64,
    account: u64,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (0u32..16, 28u8..=32, 0i64..20, 1i64..20, 1u64..6)
        .prop_map(|(host, length, from, span, account)| Drawn { host, length, from, span, account })
}

impl Drawn {
    fn network(&self) -> u32 {
        (NETWORK | self.host) & (u32::MAX << (32 - u32::from(self.length)))
    }

    fn binding(&self) -> Binding {
        Binding {
            identity: format!("ip:{}/{}", Ipv4Addr::from_bits(self.network()), self.length),
            account: AccountNumber(self.account),
            from: Timestamp(self.from),
            until: Timestamp(self.from + self.span),
        }
    }

    fn holds(&self, address: u32, at: i64) -> bool {
        let mask = u32::MAX << (32 - u32::from(self.length));
        address & mask == self.network() && self.from <= at && at < self.from + self.span
    }
}

proptest! {
    #![proptest_config(test_cases::cases(64))]
    #[test]
    fn p28_the_longest_prefix_in_force_at_the_start_counts(asked in vec(drawn(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let db = MemoryDatabase::new();
            let bindings: Vec<Binding> = asked.iter().map(Drawn::binding).collect();
            let outcomes = db.bind_identities(&bindings).await.unwrap();
            let bound = asked.iter().zip(outcomes).filter(|(_, o)| *o == BindOutcome::Bound);
            let bound: Vec<&Drawn> = bound.map(|(drawn, _)| drawn).collect();
            let guide = Guide::new(Arc::new(db), 1 << 20);
            for address in (NETWORK..NETWORK + 16).chain([NETWORK + 16]) {
                let identity = format!("ip:::ffff:{}", Ipv4Addr::from_bits(address));
                let key = IdentityKey::of(&identity).text.into_owned();
                // Twice: the second answer comes from the cache if all starts are bound.
                for _ in 0..2 {
                    let starts = (0..41).map(Timestamp).collect();
                    let asked = HashMap::from([(key.clone(), starts)]);
                    let histories = guide.histories(asked).await.unwrap();
                    for at in 0..41 {
                        let naive = bound.iter().filter(|drawn| drawn.holds(address, at));
                        let naive = naive.max_by_key(|drawn| drawn.length);
                        let found = bound_at(&histories[&key], Timestamp(at));
                        let expected = naive.map(|drawn| AccountNumber(drawn.account));
                        assert_eq!(found, expected, "{key} at {at}: {bound:?}");
                    }
                }
            }
        });
    }
}
