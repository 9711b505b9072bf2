//! What this node answers when it does not take a request: the verdict, and the text for people.

use turnpike_proto::node::v1::{Standing, Verdict};
use turnpike_types::{Epoch, PartitionId, capped};

use super::gates::Gates;
use crate::owner::Refusal;

impl Gates {
    pub(super) fn not_owner(&self, partition: PartitionId) -> Standing {
        let message = self.shared.database_error.get().unwrap_or_else(|| {
            format!("node {} does not serve partition {partition}", self.config.name)
        });
        Standing {
            verdict: Verdict::NotOwner.into(),
            owner_address: self.owner_address(partition),
            message,
            ..Standing::default()
        }
    }

    pub(super) fn overloaded(&self) -> Standing {
        metrics::counter!("turnpike_refused_total", "reason" => "queue-full").increment(1);
        Standing {
            verdict: Verdict::Overloaded.into(),
            retry_after_ms: capped(self.config.admission().as_millis()),
            message: format!(
                "node {} has {} bytes of requests waiting, its limit: send the request again later",
                self.config.name, self.config.queue_bytes_max
            ),
            ..Standing::default()
        }
    }

    /// The refusal of a request about suspended records that could not be checked (P35).
    pub(super) fn unconfirmed(&self) -> Standing {
        metrics::counter!("turnpike_refused_total", "reason" => "not-confirmed").increment(1);
        Standing {
            verdict: Verdict::Overloaded.into(),
            retry_after_ms: capped(self.config.heartbeat.as_millis()),
            message: "the owner of the other partition, or the shared database, did not confirm \
                      what the request states about suspended records: send the request again later"
                .to_owned(),
            ..Standing::default()
        }
    }

    pub(super) fn refused(&self, partition: PartitionId, epoch: Epoch, why: &Refusal) -> Standing {
        match why {
            Refusal::WrongPartition => Standing {
                message: format!("an account is not in partition {partition}: the route is stale"),
                ..self.not_owner(partition)
            },
            Refusal::Invalid(message) => invalid(message.clone()),
            // The front answers RETRY to the client in the end. When the client sends the records
            // again, their identities are looked up again.
            Refusal::GuidedLongAgo => Standing {
                verdict: Verdict::Overloaded.into(),
                epoch: epoch.number(),
                retry_after_ms: 1_000,
                message: "the identities of these records were looked up too long ago".to_owned(),
                ..Standing::default()
            },
            Refusal::SuspenseFull => {
                let reason = "suspense-full";
                metrics::counter!("turnpike_refused_total", "reason" => reason).increment(1);
                Standing {
                    verdict: Verdict::Overloaded.into(),
                    epoch: epoch.number(),
                    retry_after_ms: 10_000,
                    message: format!(
                        "partition {partition} holds {} suspended records, its limit, and these \
                         can't be rated either: remove the causes (turnpike suspense list), then \
                         recycle the suspended records",
                        self.config.suspended_max
                    ),
                    ..Standing::default()
                }
            }
            Refusal::KeysFull => {
                metrics::counter!("turnpike_refused_total", "reason" => "keys-full").increment(1);
                Standing {
                    verdict: Verdict::Overloaded.into(),
                    epoch: epoch.number(),
                    retry_after_ms: 10_000,
                    message: format!(
                        "partition {partition} holds {} keys, its limit: give it a shorter \
                         horizon, or spread its accounts over more partitions",
                        self.config.keys_max
                    ),
                    ..Standing::default()
                }
            }
        }
    }
}

pub(super) fn invalid(message: String) -> Standing {
    Standing { verdict: Verdict::Invalid.into(), message, ..Standing::default() }
}
