//! Performs a history: builds its requests, sends them to the owner, repeats those that were not
//! answered at the next owner, and notes the answers.

use std::collections::BTreeMap;
use std::rc::Rc;

use turnpike_account::{Waiting, WaitingKey};
use turnpike_proto::account::v1 as wire;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, AccountResult};
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_proto::node::v1::{
    NotedRefusal, ReassignOutcome, Reassignment, RecycleKey, RecycleOutcome, SubBatchAnswer,
};
use turnpike_proto::record::encode;
use turnpike_proto::suspense::v1::{ListRequest, SuspendedRecord};
use turnpike_types::{AccountNumber, SuspenseReason, Timestamp, UsageRecord};

use super::answers::Answers;
use super::contents::{Contents, without_position};
use super::driver::{Driver, HOUR_US, OURS, OwnerEnded, Setup};
use super::history::{
    ACCOUNTS, CYCLES, LATER, NOWHERE, Order, PLANS, START, Sent, Step, Usage, ZONES,
    first_catalogue, publish_next,
};
use crate::owner::core::{Apply, ListSuspense, Listed, RateSubBatch, Reassign, Recycle, Refusal};

/// A request, or a pass of the owner that is repeated like one.
enum Request {
    Send { records: Vec<UsageRecord>, frame: SubBatchFrame },
    Apply(Vec<AccountCommand>),
    Recycle { keys: Vec<RecycleKey>, refusals: Vec<NotedRefusal> },
    Reassign { records: Vec<Reassignment>, is_recycled: bool },
    List,
    Show(u64),
    Sweep,
    TakePostings,
}

/// An answer, without positions in the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Sent(Result<SubBatchAnswer, Refusal>),
    Applied(Vec<AccountResult>),
    Recycled(Vec<(u64, String, RecycleOutcome)>),
    Reassigned(Vec<ReassignOutcome>),
    Listed(Vec<SuspendedRecord>),
    Shown(Box<Option<wire::ShowResponse>>),
    Passed,
}

/// A history that is being performed.
pub(super) struct Run {
    pub(super) driver: Driver,
    /// Whether everything is committed before time passes and before plans are published, so that
    /// two runs decide at the same times.
    is_steady: bool,
    requests: Vec<Rc<Request>>,
    answers: BTreeMap<usize, Answer>,
    pub(super) known: Answers,
    /// The first content that was sent under each number.
    sent: BTreeMap<u8, UsageRecord>,
    /// The accounts to which records were moved.
    moved: BTreeMap<(u64, String), u64>,
    /// What becomes of the append in flight when the owner ends in the middle of a step, and whether
    /// the next owner starts from a checkpoint.
    ending: (bool, bool),
}

impl Run {
    pub(super) fn new(setup: Setup, is_steady: bool) -> Self {
        let mut run = Self {
            driver: Driver::new(setup, START, first_catalogue()),
            is_steady,
            requests: Vec::new(),
            answers: BTreeMap::new(),
            known: Answers::default(),
            sent: BTreeMap::new(),
            moved: BTreeMap::new(),
            ending: (false, false),
        };
        run.open_accounts();
        run
    }

    /// A run of all the steps, to its end.
    pub(super) fn of(setup: Setup, is_steady: bool, steps: &[Step]) -> Self {
        let mut run = Self::new(setup, is_steady);
        run.perform_all(steps);
        run
    }

    pub(super) fn perform_all(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.step(step));
        self.finish();
    }

    /// Everything that is due is booked, all postings are taken, and all answers are given.
    fn finish(&mut self) {
        self.ask(Request::Sweep);
        self.commit();
        self.ask(Request::TakePostings);
        self.commit();
    }

    pub(super) fn answers(&self) -> &BTreeMap<usize, Answer> {
        &self.answers
    }

    pub(super) fn contents(&self) -> Contents {
        Contents::of(self.driver.log())
    }

    /// When the owner ends in the middle of a step, the append in flight commits or not.
    pub(super) const fn set_ending(&mut self, commits: bool, from_checkpoint: bool) {
        self.ending = (commits, from_checkpoint);
    }

    fn open_accounts(&mut self) {
        let plans = [(1, 0), (2, 1), (3, 2), (4, 3), (6, 0), (6, 2)];
        let open = ACCOUNTS.filter(|account| *account != 8).map(|account| (account, Order::Open));
        let subscribe = plans
            .map(|(account, plan)| (account, Order::Subscribe { plan, from_us: -200 * HOUR_US }));
        let offer = Order::Offer { plans: [4, 5], from_us: -200 * HOUR_US };
        let orders = open.chain(subscribe).chain([(5, offer)]);
        self.step(&Step::Apply(orders.collect()));
        self.commit();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Send { records, is_recycled, guided_ago_us } => {
                let records = records.iter().map(|sent| self.record(sent)).collect();
                let guided_us = guided_ago_us.map_or(0, |ago| self.driver.now() - ago);
                let guided_us = guided_us.unsigned_abs();
                self.ask(send(records, *is_recycled, guided_us));
            }
            Step::Apply(orders) => {
                // A client sends no order for an account before the one before it is answered.
                self.settle();
                let now = self.driver.now();
                self.ask(Request::Apply(orders.iter().map(|order| command(order, now)).collect()));
            }
            Step::Recycle(salt) => {
                let keys = self.selected(*salt).map(|(key, waiting)| RecycleKey {
                    account_number: key.account.0,
                    record_id: key.record_id.clone(),
                    identity: key.identity.clone(),
                    revision: waiting.revision,
                    moved_to_account: self.moved_to(&key, &waiting, *salt),
                });
                let keys = keys.collect();
                self.ask(Request::Recycle { keys, refusals: Vec::new() });
            }
            Step::Refuse(salt) => {
                let refusals = self.selected(*salt).map(|(key, waiting)| NotedRefusal {
                    account_number: key.account.0,
                    record_id: key.record_id.clone(),
                    revision: waiting.revision,
                    refused_by: self.moved_to(&key, &waiting, 1),
                    reason: "too-old".to_owned(),
                });
                let refusals = refusals.collect();
                self.ask(Request::Recycle { keys: Vec::new(), refusals });
            }
            Step::Reassign { records, is_recycled } => {
                let records = records.iter().map(|(sent, to)| self.reassignment(sent, *to));
                let records = records.collect();
                self.ask(Request::Reassign { records, is_recycled: *is_recycled });
            }
            Step::List => self.ask(Request::List),
            Step::Show(account) => self.ask(Request::Show(*account)),
            Step::Sweep => self.ask(Request::Sweep),
            Step::TakePostings => {
                self.settle();
                self.ask(Request::TakePostings);
                // Otherwise a repetition would take later postings too.
                self.settle();
            }
            Step::Checkpoint { seals } => self.driver.checkpoint(*seals),
            Step::StartAppend => self.driver.start_append(),
            Step::FinishAppend => self.driver.finish_append(),
            Step::Advance(_) | Step::Publish | Step::Heartbeat => self.change_surroundings(step),
            Step::Replace { after_waits: Some(more), commits, from_checkpoint } => {
                self.set_ending(*commits, *from_checkpoint);
                self.driver.end_after(*more);
            }
            Step::Replace { after_waits: None, commits, from_checkpoint } => {
                self.set_ending(*commits, *from_checkpoint);
                self.replace(None);
            }
        }
        self.deliver();
    }

    fn change_surroundings(&mut self, step: &Step) {
        self.settle();
        match step {
            Step::Advance(by_us) => {
                self.driver.advance_clock(*by_us);
                if self.is_steady {
                    self.driver.log_time();
                }
            }
            Step::Publish => {
                self.driver.publish(publish_next);
                if self.is_steady {
                    self.driver.beat();
                }
            }
            _ => self.driver.beat(),
        }
    }

    /// Commits everything, if two runs are to be compared.
    fn settle(&mut self) {
        if self.is_steady {
            self.commit();
        }
    }

    fn commit(&mut self) {
        self.driver.flush();
        self.deliver();
    }

    fn ask(&mut self, request: Request) {
        self.requests.push(Rc::new(request));
        self.perform(self.requests.len() - 1);
    }

    /// Performs a step; upon the end of the owner, once more at the next one.
    fn perform(&mut self, at: usize) {
        let request = Rc::clone(&self.requests[at]);
        match perform(&mut self.driver, &request) {
            Ok(answer) => {
                self.answers.insert(at, answer);
                self.driver.answer(at);
            }
            Err(OwnerEnded) => self.replace(Some(at)),
        }
        self.deliver();
    }

    /// The next owner starts, and gets what was not answered.
    fn replace(&mut self, at: Option<usize>) {
        let (commits, from_checkpoint) = self.ending;
        let mut unanswered = self.driver.replace(commits, from_checkpoint);
        unanswered.extend(at);
        unanswered.into_iter().for_each(|at| self.perform(at));
    }

    /// Clients are given the answers that were committed.
    fn deliver(&mut self) {
        for at in self.driver.take_answered() {
            if let (Request::Send { records, .. }, Answer::Sent(Ok(answer))) =
                (self.requests[at].as_ref(), &self.answers[&at])
            {
                let floor = self.driver.now() - self.driver.horizon_us();
                self.known.note(records, answer, floor);
            }
        }
    }

    /// The record to send: as it was sent first, unless the step changes it.
    fn record(&mut self, sent: &Sent) -> UsageRecord {
        let now = self.driver.now();
        let first = self.sent.entry(sent.number).or_insert_with(|| first_content(sent, now));
        let mut record = first.clone();
        if sent.conflicts {
            record.quantity = Some(record.quantity.unwrap_or(0).abs() + 1);
        }
        if sent.states_zero && record.usage_type == "call" && record.duration_us == 0 {
            record.state_duration(Some(0));
        }
        record
    }

    fn reassignment(&mut self, sent: &Sent, to: u64) -> Reassignment {
        let mut record = self.record(sent);
        record.identity = format!("user:u{}", sent.number);
        // The account to which a record goes is decided once (P28).
        let to = *self.moved.entry((record.account.0, record.record_id.clone())).or_insert(to);
        let mut bytes = Vec::new();
        encode(&record, &mut bytes);
        Reassignment { record: bytes.into(), to_account: to }
    }

    /// About half of the suspended records.
    fn selected(&mut self, salt: u8) -> impl Iterator<Item = (WaitingKey, Waiting)> + use<> {
        let waiting = self.driver.core().log().state().suspense();
        let is_selected = |key: &WaitingKey| {
            let name = format!("{} {}", key.account, without_position(&key.record_id));
            let seed = u32::from(salt);
            let sum = name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
            (sum >> 3) % 2 == 0
        };
        let selected = waiting.iter().filter(|(key, _)| is_selected(key));
        let selected: Vec<_> = selected.map(|(key, one)| (key.clone(), one.clone())).collect();
        selected.into_iter()
    }

    fn moved_to(&self, key: &WaitingKey, waiting: &Waiting, salt: u8) -> u64 {
        if waiting.reason != SuspenseReason::UnboundIdentity {
            return 0;
        }
        match self.moved.get(&(key.account.0, key.record_id.clone())) {
            Some(&to) if to != key.account.0 => to,
            None if key.account.0 == 0 && salt.is_multiple_of(3) => 3,
            _ => 0,
        }
    }
}

fn perform(driver: &mut Driver, request: &Request) -> Result<Answer, OwnerEnded> {
    let rates = |request: &Request| {
        matches!(request, Request::Send { .. } | Request::Recycle { .. } | Request::Reassign { .. })
    };
    match request {
        Request::Sweep => return driver.sweep().map(|()| Answer::Passed),
        Request::TakePostings => return driver.take_postings().map(|()| Answer::Passed),
        _ => driver.begin(rates(request)),
    }
    Ok(match request {
        Request::Send { frame, .. } => {
            Answer::Sent(match RateSubBatch::admit(driver.core(), frame) {
                Err(refusal) => Err(refusal),
                Ok(job) => driver.carry_out(job)?,
            })
        }
        Request::Apply(commands) => {
            Answer::Applied(driver.carry_out(Apply::new(commands.clone()))?)
        }
        Request::Recycle { keys, refusals } => {
            let outcomes = driver.carry_out(Recycle::new(keys.clone(), refusals.clone()))?;
            let of = |key: &RecycleKey| {
                (key.account_number, without_position(&key.record_id).to_owned())
            };
            let outcomes = keys.iter().map(of).zip(outcomes);
            let mut outcomes: Vec<_> =
                outcomes.map(|((account, id), outcome)| (account, id, outcome)).collect();
            outcomes.sort_by_key(|one| format!("{one:?}"));
            Answer::Recycled(outcomes)
        }
        Request::Reassign { records, is_recycled } => {
            Answer::Reassigned(driver.carry_out(Reassign::new(records.clone(), *is_recycled))?)
        }
        Request::List => {
            let Listed { records, is_cut, .. } =
                driver.carry_out(ListSuspense::new(ListRequest::default()))?;
            assert!(!is_cut);
            let mut records: Vec<_> = records.into_iter().map(listed).collect();
            records.sort_by_key(|one| format!("{one:?}"));
            Answer::Listed(records)
        }
        Request::Show(account) => Answer::Shown(Box::new(driver.core().show(*account))),
        Request::Sweep | Request::TakePostings => unreachable!("passes are performed above"),
    })
}

/// A listed record without its position in the log.
fn listed(record: SuspendedRecord) -> SuspendedRecord {
    let record_id = without_position(&record.record_id).to_owned();
    let is_posting = record_id != record.record_id;
    let bytes = if is_posting { bytes::Bytes::new() } else { record.record };
    SuspendedRecord { segment: 0, record_id, record: bytes, ..record }
}

fn send(records: Vec<UsageRecord>, recycled: bool, guided_us: u64) -> Request {
    let (mut run, mut bytes) = (Vec::new(), Vec::new());
    for record in &records {
        bytes.clear();
        encode(record, &mut bytes);
        push_record(&mut run, &bytes);
    }
    let head = SubBatchHead { partition: OURS.0, recycled, guided_us, ..SubBatchHead::default() };
    Request::Send { records, frame: SubBatchFrame::build(head, &run) }
}

fn first_content(sent: &Sent, now: i64) -> UsageRecord {
    let amount = i64::from(sent.amount);
    let mut record = UsageRecord {
        record_id: format!("r{}", sent.number),
        account: AccountNumber(sent.account),
        start: Timestamp(now - sent.age_us),
        ..UsageRecord::default()
    };
    if sent.account == 0 || sent.number.is_multiple_of(5) {
        record.identity = format!("user:u{}", sent.number);
    }
    let octets = if amount % 97 == 1 { -1 } else { amount };
    match sent.usage {
        Usage::Octets => {
            record.usage_type = "octets".to_owned();
            record.quantity = Some(octets);
        }
        Usage::Call => {
            record.usage_type = "call".to_owned();
            record.duration_us = if amount < 1_000 { 0 } else { amount * 1_000_000 };
        }
        Usage::Sponsored => {
            record.usage_type = "sponsored".to_owned();
            record.quantity = Some(octets);
            let payer = [2, 3, 5, 8, NOWHERE][usize::from(sent.amount) % 5];
            record.attributes.insert("payer".to_owned(), payer.to_string());
        }
        Usage::Unknown => {
            record.usage_type = "unheard-of".to_owned();
            record.quantity = Some(amount);
        }
    }
    record
}

fn command(&(account, order): &(u64, Order), now: i64) -> AccountCommand {
    let plan = |place: usize| PLANS.get(place).copied().unwrap_or(LATER).to_owned();
    let (option, at) = ("phone".to_owned(), |hours: i64| now + hours);
    let settings = |zone: &str| wire::Settings {
        zone: zone.to_owned(),
        cycle_day: 1,
        currency: "USD".to_owned(),
        ..wire::Settings::default()
    };
    let command = match order {
        Order::Open => Command::Open(wire::OpenAccount {
            settings: Some(settings("UTC")),
            ..wire::OpenAccount::default()
        }),
        Order::Subscribe { plan: place, from_us } => Command::Subscribe(wire::Subscribe {
            plan_id: plan(place),
            from_us: at(from_us),
            priority: u32::try_from(place).unwrap() + 1,
            ..wire::Subscribe::default()
        }),
        Order::Cancel { plan: place, at_us } => {
            Command::Cancel(wire::Cancel { plan_id: plan(place), at_us: at(at_us) })
        }
        Order::Offer { plans, from_us } => Command::Offer(wire::Offer {
            option,
            plan_ids: plans.map(plan).into(),
            fee: "0.50".to_owned(),
            from_us: at(from_us),
            priority: 20,
        }),
        Order::Pick { plan: place, cycle } => Command::Pick(wire::Pick {
            option,
            plan_id: plan(place),
            cycle: CYCLES[cycle].to_owned(),
        }),
        Order::OptOut { plan: place, at_us } => {
            Command::OptOut(wire::OptOut { option, plan_id: plan(place), at_us: at(at_us) })
        }
        Order::Amend { cycle_day, from_us } => Command::AmendSettings(wire::AmendSettings {
            cycle_day: Some(cycle_day),
            from_us: at(from_us),
            ..wire::AmendSettings::default()
        }),
        Order::Zone { zone, from_us } => Command::ChangeSettings(wire::ChangeSettings {
            settings: Some(settings(ZONES[zone])),
            from_us: at(from_us),
        }),
    };
    AccountCommand { account_number: account, command: Some(command), identities: Vec::new() }
}
