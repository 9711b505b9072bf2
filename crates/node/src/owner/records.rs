//! Taking records: decode, find duplicates, price, log.

use smallvec::SmallVec;
use tokio::sync::oneshot;
use turnpike_account::{Fingerprint, Location, WaitingKey, fingerprint};
use turnpike_plan::{AccountState, Line, PORTIONS_MAX, PlanInForce, Rated, StateEntry};
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead};
use turnpike_proto::ingest::v1::{RecordResult, RecordStatus};
use turnpike_proto::node::v1::SubBatchAnswer;
use turnpike_proto::record::{Record, RecordBatch, encode_extra, extra_identity};
use turnpike_segment::head::ComponentHead;
use turnpike_segment::{Component, LineKind, NewLine, NewRecord, RecordRow};
use turnpike_types::{
    AccountNumber, Epoch, Outcome, Posting, RejectReason, SegmentNumber, SuspenseReason, UsageView,
    limits,
};

use super::append::OpenSegment;
use super::{Ended, Owner, Refusal};
use crate::tariff::Tariff;

/// Buffers used again for every record.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    components: Vec<Component>,
    changes: Vec<StateEntry>,
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Rated,
    Suspended(SuspenseReason),
    Rejected(RejectReason),
    /// Rated before (I5).
    Duplicate,
    /// Suspended before; what it is now.
    Replayed(SuspenseReason, Option<SuspenseReason>),
}

/// Why a record could not be taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The open segment is full.
    Full,
    /// A segment must be read back for a comparison.
    Load(SegmentNumber),
    /// A plan is not known: it may have been published since the last heartbeat.
    Catalogue,
    /// There is no room for another key.
    Keys,
}

/// A record on its way in.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) view: UsageView<'a>,
    pub(crate) identity: &'a str,
}

impl Incoming<'_> {
    /// The identity as far as it is part of the key (P28).
    fn key_identity(&self) -> &str {
        if self.view.account.0 == 0 { self.identity } else { "" }
    }

    fn fingerprint(&self) -> Fingerprint {
        fingerprint(self.view.account, self.key_identity(), self.view.record_id)
    }

    fn waiting_key(&self) -> WaitingKey {
        WaitingKey {
            account: self.view.account,
            identity: self.key_identity().to_owned(),
            record_id: self.view.record_id.to_owned(),
        }
    }

    /// Is `row` the record with this key?
    fn has_key_of(&self, row: &RecordRow<'_>) -> bool {
        row.record_id == self.view.record_id
            && row.account == self.view.account
            && (row.account.0 != 0 || extra_identity(row.extra) == self.identity)
    }

    /// Is the content the same too, in canonical form (P27)?
    fn has_content_of(&self, row: &RecordRow<'_>) -> bool {
        let view = &self.view;
        let mut extra = Vec::new();
        let (attributes, measures) = (view.attributes, view.measures);
        encode_extra(
            self.identity,
            attributes.iter().copied(),
            measures.iter().copied(),
            &mut extra,
        );
        (row.usage_type, row.start, row.duration_us, row.quantity, row.extra)
            == (view.usage_type, view.start, view.duration_us, view.quantity, extra.as_slice())
    }
}

impl Owner {
    pub(super) async fn take_records(
        &mut self,
        frame: &SubBatchFrame,
        reply: oneshot::Sender<(Epoch, Result<SubBatchAnswer, Refusal>)>,
    ) -> Result<(), Ended> {
        let mut batch = RecordBatch::default();
        let answer = match self.admit(frame, &mut batch) {
            Err(refusal) => Err(refusal),
            Ok(head) => self.take_all(&batch, head).await?,
        };
        self.answer(reply, answer);
        Ok(())
    }

    async fn take_all(
        &mut self,
        batch: &RecordBatch<'_>,
        head: SubBatchHead,
    ) -> Result<Result<SubBatchAnswer, Refusal>, Ended> {
        let mut answer = SubBatchAnswer { sequence: head.sequence, ..SubBatchAnswer::default() };
        for (index, record) in (0u32..).zip(batch.records()) {
            self.cut_if_full().await?;
            let taken = match record {
                Ok(record) => self.take_until_done(incoming(batch, record), head.recycled).await?,
                Err(reason) => Some(Taken::Rejected(*reason)),
            };
            match taken {
                Some(taken) => note(&mut answer, index, taken),
                // What was taken of it is logged, and comes back as duplicates.
                None => return Ok(Err(Refusal::KeysFull)),
            }
        }
        count(&answer);
        Ok(Ok(answer))
    }

    /// Decodes the sub-batch and checks that it is ours (P32), before anything is touched.
    fn admit<'a>(
        &self,
        frame: &'a SubBatchFrame,
        batch: &mut RecordBatch<'a>,
    ) -> Result<SubBatchHead, Refusal> {
        let head = frame.walk(|record| batch.push(record));
        let head = head.map_err(|error| Refusal::Invalid(error.to_string()))?;
        if batch.records().len() > limits::BATCH_RECORDS_MAX {
            return Err(Refusal::Invalid("more records than a batch may hold".to_owned()));
        }
        let ours = self.ownership.spec.range;
        let strangers = batch.records().iter().flatten().any(|record| {
            let account = record.fixed.account;
            account.0 != 0 && !ours.contains(account) && self.is_covered(account)
        });
        if strangers { Err(Refusal::WrongPartition) } else { Ok(head) }
    }

    /// Does any partition cover the account?
    fn is_covered(&self, account: AccountNumber) -> bool {
        self.shared.ranges.borrow().iter().any(|range| range.contains(account))
    }

    /// `None`: there is no room for its key.
    async fn take_until_done(
        &mut self,
        incoming: Incoming<'_>,
        recycled: bool,
    ) -> Result<Option<Taken>, Ended> {
        loop {
            match self.take_record(&incoming, recycled) {
                Ok(taken) => return Ok(Some(taken)),
                Err(Wait::Keys) if !self.make_room_for_keys() => return Ok(None),
                Err(wait) => self.resolve(wait).await?,
            }
        }
    }

    /// Makes true what a record waits for.
    pub(super) async fn resolve(&mut self, wait: Wait) -> Result<(), Ended> {
        match wait {
            Wait::Full => self.cut().await,
            Wait::Load(segment) => self.load(segment).await,
            Wait::Catalogue => self.ask_catalogue().await,
            Wait::Keys => Ok(()),
        }
    }

    /// Reads what was published, once a request: who publishes a plan and then sends usage finds
    /// it rated, whatever the heartbeat has brought. When it can't be read, the record waits in
    /// suspense as it would have.
    async fn ask_catalogue(&mut self) -> Result<(), Ended> {
        self.catalogue_asked = true;
        let pause = self.shared.config.heartbeat / 10;
        if self.catalogue_read_at.is_some_and(|read| read.elapsed() < pause) {
            return Ok(());
        }
        match self.read_catalogue().await {
            Err(Ended::Store(error)) => {
                tracing::warn!(%error, "the catalogue could not be read");
                Ok(())
            }
            done => done,
        }
    }

    /// Makes room for keys: those beyond the horizon are let go, and where logged time stands still
    /// because nothing is taken, it is logged by itself.
    fn make_room_for_keys(&mut self) -> bool {
        self.state.sweep();
        if self.state.keys().len() < self.shared.config.keys_max {
            return true;
        }
        let pause = self.shared.config.heartbeat * 20;
        if self.time_logged_at.is_none_or(|logged| logged.elapsed() >= pause) {
            self.time_logged_at = Some(tokio::time::Instant::now());
            self.open.logs_time = true;
        }
        false
    }

    fn take_record(&mut self, incoming: &Incoming<'_>, recycled: bool) -> Result<Taken, Wait> {
        let print = incoming.fingerprint();
        // Dedup is asked before the horizon (P26).
        if let Some(taken) = self.taken_before(incoming, print)? {
            return Ok(taken);
        }
        let time = self.open.time;
        // What was recycled met the horizon when it first arrived (P35). But it may have come by
        // another way meanwhile: where keys were forgotten nobody can tell, and it stays where it
        // waits (I2).
        let keys_are_complete = self.state.keys().forgotten_through() == SegmentNumber(0);
        if incoming.view.start < time.floor && !(recycled && keys_are_complete) {
            return Ok(Taken::Rejected(RejectReason::TooOld));
        }
        if incoming.view.start > time.now.saturating_add(limits::AHEAD_MAX_US) {
            return Ok(Taken::Rejected(RejectReason::InTheFuture));
        }
        if self.state.keys().len() >= self.shared.config.keys_max {
            return Err(Wait::Keys);
        }
        match self.rate_new(incoming) {
            Ok(row) => {
                let location = Location::new(self.open.number, row);
                self.state.take_fingerprint(print, location);
                Ok(Taken::Rated)
            }
            Err(NotRated::Wait(wait)) => Err(wait),
            Err(NotRated::Suspended(reason)) => self.suspend(incoming, print, reason),
        }
    }

    /// What was answered before, if the key came before: whether its segment is committed, in
    /// flight (P5) or still filling.
    fn taken_before(
        &self,
        incoming: &Incoming<'_>,
        print: Fingerprint,
    ) -> Result<Option<Taken>, Wait> {
        for location in self.state.keys().find(print) {
            let row = self.record_at(location).map_err(Wait::Load)?;
            let Some(row) = row.filter(|row| incoming.has_key_of(row)) else { continue };
            return Ok(Some(self.again(incoming, &row)));
        }
        // Keys of open suspense never expire (P35).
        let waiting = if self.state.suspense().is_empty() {
            None
        } else {
            self.state.suspense().get(&incoming.waiting_key())
        };
        match waiting {
            Some(waiting) => {
                let row = self.record_at(waiting.location).map_err(Wait::Load)?;
                Ok(row.map(|row| self.again(incoming, &row)))
            }
            None => Ok(None),
        }
    }

    fn again(&self, incoming: &Incoming<'_>, row: &RecordRow<'_>) -> Taken {
        if !incoming.has_content_of(row) {
            return Taken::Rejected(RejectReason::Conflict);
        }
        match row.outcome {
            Outcome::Rated | Outcome::RatedLate | Outcome::FellDue | Outcome::Posted => {
                Taken::Duplicate
            }
            Outcome::Suspended(reason) => {
                let now = self.state.suspense().get(&incoming.waiting_key());
                Taken::Replayed(reason, now.map(|waiting| waiting.reason))
            }
        }
    }

    fn suspend(
        &mut self,
        incoming: &Incoming<'_>,
        print: Fingerprint,
        reason: SuspenseReason,
    ) -> Result<Taken, Wait> {
        let record = NewRecord {
            view: incoming.view,
            identity: incoming.identity,
            outcome: Outcome::Suspended(reason),
        };
        let row = self.open.builder.push_record(&record).ok_or(Wait::Full)?;
        let location = Location::new(self.open.number, row);
        self.state.take_fingerprint(print, location);
        self.state.suspend(incoming.waiting_key(), location, reason);
        Ok(Taken::Suspended(reason))
    }

    /// Prices a record and logs it with its lines; returns its row.
    pub(super) fn rate_new(&mut self, incoming: &Incoming<'_>) -> Result<u32, NotRated> {
        let account = incoming.view.account;
        if account.0 == 0 {
            return Err(NotRated::Suspended(SuspenseReason::UnboundIdentity));
        }
        if !self.ownership.spec.range.contains(account) {
            return Err(NotRated::Suspended(SuspenseReason::NoPartition));
        }
        let Some(known) = self.state.account(account) else {
            return Err(NotRated::Suspended(SuspenseReason::UnknownAccount));
        };
        let profiles = self.state.profiles();
        let tariff = match self.tariffs.at(profiles, known.profile, incoming.view.start) {
            Err(SuspenseReason::UnknownPlan) if !self.catalogue_asked => {
                return Err(NotRated::Wait(Wait::Catalogue));
            }
            resolved => resolved?,
        };
        let plans: SmallVec<[PlanInForce<'_>; 4]> =
            tariff.codes.iter().map(|(_, code)| PlanInForce::always(code)).collect();
        let rated = self.rater.rate(
            &plans,
            &tariff.context,
            &known.state,
            &incoming.view,
            self.open.time.now,
        )?;
        if rated.lines.len() > PORTIONS_MAX || rated.changes.len() > PORTIONS_MAX {
            return Err(NotRated::Suspended(SuspenseReason::Overflow));
        }
        // A segment that holds nothing yet has all the room there is: what does not fit there
        // fits nowhere.
        let no_room = match self.open.builder.is_empty() && self.open.components.is_empty() {
            true => NotRated::Suspended(SuspenseReason::Overflow),
            false => NotRated::Wait(Wait::Full),
        };
        let scratch = &mut self.scratch;
        scratch.components.clear();
        let mut more = 0u128;
        for line in &rated.lines {
            let Some(component) = component(&mut self.open, &tariff, line) else {
                return Err(no_room);
            };
            more = more.saturating_add(line.amount.nanos().unsigned_abs());
            if !self.open.builder.fits(component, more) {
                return Err(no_room);
            }
            scratch.components.push(component);
        }
        untold(&tariff, rated, &known.state, &mut scratch.changes);
        let record =
            NewRecord { view: incoming.view, identity: incoming.identity, outcome: Outcome::Rated };
        if !self.open.builder.has_room_for_variables(scratch.changes.len()) {
            return Err(no_room);
        }
        let Some(row) = self.open.builder.push_record(&record) else { return Err(no_room) };
        for (line, &component) in rated.lines.iter().zip(&scratch.components) {
            self.open.builder.push_line(&NewLine {
                component,
                quantity: line.quantity,
                first_unit: line.first_unit,
                period: line.period.0,
                level_before: line.level_before,
                level_after: line.level_after,
                amount: line.amount,
                of: None,
                posting: Posting::Account,
            });
        }
        for change in &scratch.changes {
            // Room was made sure of above.
            let _ = self.open.builder.push_change(change.variable.0, change.period.0, change.value);
        }
        // Exactly what a replay does, so that both come to the same bytes (I4).
        let shown = rated.lines.iter().filter_map(|line| {
            let variable = level_of(&tariff, line)?;
            Some(StateEntry { variable, period: line.period, value: line.level_after })
        });
        let entries = shown.chain(scratch.changes.iter().copied());
        self.state.set_variables(account, entries, self.open.time.floor);
        Ok(row)
    }
}

/// Why a record has no lines (yet).
pub(super) enum NotRated {
    Suspended(SuspenseReason),
    Wait(Wait),
}

impl From<SuspenseReason> for NotRated {
    fn from(reason: SuspenseReason) -> Self {
        Self::Suspended(reason)
    }
}

impl From<Wait> for NotRated {
    fn from(wait: Wait) -> Self {
        Self::Wait(wait)
    }
}

/// The line's component in the open segment's table; added on first use.
fn component(open: &mut OpenSegment, tariff: &Tariff, line: &Line) -> Option<Component> {
    let (slot, code) = tariff.codes.get(usize::from(line.plan))?;
    let slot = slot.0 as usize;
    if open.components.len() <= slot {
        open.components.resize_with(slot + 1, Vec::new);
    }
    let row = open.components.get_mut(slot)?;
    let at = usize::from(line.component);
    if let Some(Some(known)) = row.get(at) {
        return Some(*known);
    }
    let info = code.components().get(at)?;
    let head = ComponentHead {
        plan_id: code.plan_id().to_owned(),
        plan_version: code.version(),
        primitive: info.primitive.clone(),
        component: info.component.clone(),
        kind: line_kind(info.kind).number(),
        price: info.price.clone(),
        unit: info.unit.to_string(),
        currency: code.currency().to_string(),
        level: info.level.map(|variable| variable.0),
    };
    let added = open.builder.add_component(head, code.currency())?;
    if row.len() <= at {
        row.resize(at + 1, None);
    }
    if let Some(place) = row.get_mut(at) {
        *place = Some(added);
    }
    Some(added)
}

const fn line_kind(kind: turnpike_plan::ComponentKind) -> LineKind {
    match kind {
        turnpike_plan::ComponentKind::OneTime => LineKind::OneTime,
        turnpike_plan::ComponentKind::Recurring => LineKind::Recurring,
        _ => LineKind::Usage,
    }
}

/// The changes that the lines do not tell. A replay sets, line by line, the level that each shows;
/// so a value stands in a change only when the last line of its variable and period, if there is
/// one, shows another.
fn untold(tariff: &Tariff, rated: &Rated, state: &AccountState, out: &mut Vec<StateEntry>) {
    out.clear();
    let last_shown = |variable, period| {
        let mut shown = rated.lines.iter().rev().filter(|line| line.period == period);
        shown.find(|line| level_of(tariff, line) == Some(variable)).map(|line| line.level_after)
    };
    out.extend(
        rated
            .changes
            .iter()
            .filter(|change| last_shown(change.variable, change.period) != Some(change.value)),
    );
    for line in &rated.lines {
        let Some(variable) = level_of(tariff, line) else { continue };
        let is_key = |e: &&StateEntry| e.variable == variable && e.period == line.period;
        if rated.changes.iter().any(|entry| is_key(&entry)) || out.iter().any(|e| is_key(&e)) {
            continue;
        }
        let value = state.get(variable, line.period).unwrap_or_default();
        if last_shown(variable, line.period) != Some(value) {
            out.push(StateEntry { variable, period: line.period, value });
        }
    }
}

fn level_of(tariff: &Tariff, line: &Line) -> Option<turnpike_plan::VariableId> {
    let (_, code) = tariff.codes.get(usize::from(line.plan))?;
    code.components().get(usize::from(line.component))?.level
}

/// A decoded record as it is taken.
pub(super) fn incoming<'b>(batch: &'b RecordBatch<'_>, record: &Record<'b>) -> Incoming<'b> {
    Incoming { view: batch.view(record), identity: record.fixed.identity }
}

fn note(answer: &mut SubBatchAnswer, index: u32, taken: Taken) {
    let exception = |status: RecordStatus, reason: &str| RecordResult {
        index,
        status: status.into(),
        reason: reason.to_owned(),
        ..RecordResult::default()
    };
    match taken {
        Taken::Rated => answer.accepted += 1,
        Taken::Duplicate => answer.duplicates.push(index),
        Taken::Suspended(reason) => {
            answer.exceptions.push(exception(RecordStatus::Suspended, reason.word()));
        }
        Taken::Rejected(reason) => {
            answer.exceptions.push(exception(RecordStatus::Rejected, reason.word()));
        }
        Taken::Replayed(reason, present) => answer.exceptions.push(RecordResult {
            replayed: true,
            present: present.map_or("rated", SuspenseReason::word).to_owned(),
            ..exception(RecordStatus::Suspended, reason.word())
        }),
    }
}

fn count(answer: &SubBatchAnswer) {
    let rated = u64::from(answer.accepted);
    metrics::counter!("turnpike_records_total", "outcome" => "rated").increment(rated);
    let duplicates = answer.duplicates.len() as u64;
    metrics::counter!("turnpike_records_total", "outcome" => "duplicate").increment(duplicates);
    for exception in &answer.exceptions {
        let outcome = match exception.status() {
            RecordStatus::Rejected => "rejected",
            RecordStatus::Suspended | RecordStatus::Unspecified => "suspended",
        };
        metrics::counter!("turnpike_records_total", "outcome" => outcome).increment(1);
    }
}
