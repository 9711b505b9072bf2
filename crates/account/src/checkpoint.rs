//! Encodes the state of a partition as bytes. The same state always gives the same bytes (I4, P22).

use std::collections::{BTreeMap, HashSet};

use turnpike_plan::{AccountState, Period, StateEntry, VariableId};
use turnpike_segment::head::PostingCursor;
use turnpike_tariff::{Profile, ProfileId, Settings, Subscription};
use turnpike_types::{
    AccountNumber, Detail, Must, SegmentHash, SegmentNumber, SuspenseReason, Timestamp,
};

use crate::bytes::{CheckpointError, Reader, Writer};
use crate::keys::{Fingerprint, Hour, Key, Location};
use crate::state::{Account, HELD, LoggedTime, PartitionState};
use crate::suspense::{Waiting, WaitingKey};

/// Format 1 ends after the suspended records.
const MAGIC_1: [u8; 8] = *b"TPCKP\0\0\x01";
/// Format 2 adds the posting cursors.
const MAGIC: [u8; 8] = *b"TPCKP\0\0\x02";
/// Format 3 adds the details of suspense reasons. It is written only if there are details, so that
/// an older program can read every other checkpoint.
const MAGIC_3: [u8; 8] = *b"TPCKP\0\0\x03";
/// Format 4 has the fields of format 3. It is written only if a subscription was cancelled at its
/// start: an older program would not give its charges back before it charges the same days to another
/// subscription.
const MAGIC_4: [u8; 8] = *b"TPCKP\0\0\x04";
const KEYS_MAGIC: &[u8; 8] = b"TPKEY\0\0\x01";
/// The maximum number of keys in one part of a [`KeyRun`].
const PART_KEYS: usize = 4 << 20;
/// The number of accounts or keys between two calls of `progress`.
const PROGRESS_EVERY: usize = 65_536;

/// An encoded state without its deduplication keys, which are encoded as [`KeyRun`]s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The encoded state.
    pub bytes: Vec<u8>,
}

/// The sorted deduplication keys of the segments in `(after, through]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRun {
    /// The run holds no keys of this segment and earlier ones.
    pub after: SegmentNumber,
    /// The run holds no keys of later segments.
    pub through: SegmentNumber,
    /// The number of keys.
    pub keys: usize,
    /// The bytes, in parts of at most 64 MiB that can be decoded separately; at least one part.
    pub parts: Vec<Vec<u8>>,
}

impl PartitionState {
    /// Encodes the whole state, including keys, in canonical form. I4 compares these bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.snapshot(&|| ()).bytes;
        bytes.extend_from_slice(&encode_keys(&self.keys.sorted()));
        bytes
    }

    /// Encodes everything except keys. `progress` is called as in [`PartitionState::decode`].
    pub fn snapshot(&self, progress: &dyn Fn()) -> Snapshot {
        let details: Vec<(usize, &Waiting)> = self.details().collect();
        let magic = match self.has_never_begun() {
            true => MAGIC_4,
            false if details.is_empty() => MAGIC,
            false => MAGIC_3,
        };
        let mut out = Writer(magic.to_vec());
        out.u64(self.last.0);
        out.0.extend_from_slice(&self.last_hash.0);
        out.i64(self.time.now.0);
        out.i64(self.time.floor.0);
        out.u64(self.keys.forgotten_through().0);
        out.len(self.keys.hours().len());
        for hour in self.keys.hours() {
            out.i64(hour.hour);
            out.u64(hour.first.0);
        }
        self.write_accounts(&mut out, progress);
        out.len(self.suspense.len());
        for (key, waiting) in self.suspense.iter() {
            out.u64(key.account.0);
            out.text(&key.identity);
            out.text(&key.record_id);
            out.u64(waiting.location.bits());
            out.0.push(waiting.reason.code());
            out.u32(waiting.revision);
        }
        out.len(self.cursors.len());
        for (sender, cursor) in &self.cursors {
            out.u32(sender.0);
            out.u64(cursor.segment);
            out.u32(cursor.ordinal);
            out.bytes(&cursor.hash);
        }
        if magic != MAGIC {
            out.len(details.len());
            for (place, waiting) in details {
                out.len(place);
                out.text(waiting.detail.as_str());
            }
        }
        Snapshot { bytes: out.0 }
    }

    /// Whether an account has a subscription that was cancelled at its start.
    fn has_never_begun(&self) -> bool {
        let profiles: HashSet<ProfileId> =
            self.accounts.values().map(|account| account.profile).collect();
        let profiles = profiles.into_iter().filter_map(|id| self.profiles.get(id));
        profiles.flat_map(|profile| &profile.subscriptions).any(|one| !one.is_ever_in_force())
    }

    /// The suspended records that have a detail, with their position among all suspended records.
    fn details(&self) -> impl Iterator<Item = (usize, &Waiting)> {
        let waiting = self.suspense.iter().map(|(_, waiting)| waiting).enumerate();
        waiting.filter(|(_, waiting)| !waiting.detail.is_empty())
    }

    fn write_accounts(&self, out: &mut Writer, progress: &dyn Fn()) {
        let mut accounts: Vec<_> = self.accounts.iter().collect();
        accounts.sort_unstable_by_key(|(number, _)| **number);
        // Profile ids depend on the order in which profiles were created. Numbering them in the
        // order of the accounts that use them makes the bytes independent of that order.
        let mut renumbered = vec![None; self.profiles.len()];
        let mut used = Vec::new();
        for (_, account) in &accounts {
            let place = renumbered.get_mut(account.profile.0 as usize).must(HELD);
            if place.is_none() {
                let next = u32::try_from(used.len());
                *place = Some(next.must("there are at most as many profiles as ids"));
                used.push(account.profile);
            }
        }
        out.len(used.len());
        for &id in &used {
            write_profile(out, self.profiles.get(id).must(HELD));
        }
        out.len(accounts.len());
        for (at, (number, account)) in accounts.into_iter().enumerate() {
            if at % PROGRESS_EVERY == 0 {
                progress();
            }
            out.u64(number.0);
            let renumbered = renumbered.get(account.profile.0 as usize).copied().flatten();
            out.u32(renumbered.must("the profile of each account was numbered"));
            out.len(account.state.entries().len());
            for entry in account.state.entries() {
                out.u64(entry.variable.0);
                out.u32(entry.period.0.cast_unsigned());
                out.0.extend_from_slice(&entry.value.to_le_bytes());
            }
        }
    }

    /// The deduplication keys that no published checkpoint contains yet (see
    /// [`PartitionState::seal_keys`]).
    pub fn key_run(&self) -> KeyRun {
        let (after, keys) = self.keys.sorted_fresh();
        let parts = match keys.as_slice() {
            [] => vec![encode_keys(&[])],
            keys => keys.chunks(PART_KEYS).map(encode_keys).collect(),
        };
        KeyRun { after, through: self.last, keys: keys.len(), parts }
    }

    /// Marks the deduplication keys of segments up to `through` as stored in a published
    /// checkpoint. The next [`KeyRun`] begins after that segment.
    pub fn seal_keys(&mut self, through: SegmentNumber) {
        self.keys.seal(through);
    }

    /// Restores the state from a snapshot and its [`KeyRun`]s. All restored keys count as stored in
    /// a published checkpoint. `progress` is called regularly: loading a large state takes seconds,
    /// during which its owner must show that it is alive.
    ///
    /// # Errors
    /// [`CheckpointError`] when the bytes are not a checkpoint.
    pub fn decode(
        snapshot: &[u8],
        runs: &[impl AsRef<[u8]>],
        progress: &dyn Fn(),
    ) -> Result<Self, CheckpointError> {
        let mut state = Self::default();
        let (rest, format) = match snapshot.split_first_chunk() {
            Some((&MAGIC_1, rest)) => (rest, 1),
            Some((&MAGIC, rest)) => (rest, 2),
            Some((&MAGIC_3, rest)) => (rest, 3),
            Some((&MAGIC_4, rest)) => (rest, 4),
            _ => return Err(CheckpointError::Format),
        };
        let mut input = Reader(rest);
        state.last = SegmentNumber(input.u64()?);
        state.last_hash = SegmentHash(input.array()?);
        state.time = LoggedTime { now: Timestamp(input.i64()?), floor: Timestamp(input.i64()?) };
        let forgotten_through = SegmentNumber(input.u64()?);
        let mut hours = Vec::new();
        for _ in 0..input.len()? {
            hours.push(Hour { hour: input.i64()?, first: SegmentNumber(input.u64()?) });
        }
        state.keys.restore(hours, forgotten_through);
        state.read_accounts(&mut input, progress)?;
        state.read_suspense(&mut input)?;
        if format >= 2 {
            state.read_cursors(&mut input)?;
        }
        if format >= 3 {
            state.read_details(&mut input)?;
        }
        input.end()?;
        for run in runs {
            state.read_run(run.as_ref(), progress)?;
        }
        state.keys.seal(state.last);
        Ok(state)
    }

    fn read_accounts(
        &mut self,
        input: &mut Reader<'_>,
        progress: &dyn Fn(),
    ) -> Result<(), CheckpointError> {
        let mut profiles = Vec::new();
        for _ in 0..input.len()? {
            let profile = read_profile(input)?;
            profiles.push(self.profiles.intern(profile));
        }
        let mut entries = Vec::new();
        for at in 0..input.len()? {
            if at % PROGRESS_EVERY == 0 {
                progress();
            }
            let number = AccountNumber(input.u64()?);
            let profile: Option<&ProfileId> = profiles.get(input.u32()? as usize);
            let profile = *profile.ok_or(CheckpointError::Nonsense("profiles"))?;
            entries.clear();
            for _ in 0..input.len()? {
                entries.push(StateEntry {
                    variable: VariableId(input.u64()?),
                    period: Period(input.u32()?.cast_signed()),
                    value: i128::from_le_bytes(input.array()?),
                });
            }
            let state = AccountState::from_sorted(&entries);
            let state = state.ok_or(CheckpointError::Nonsense("variables"))?;
            self.accounts.insert(number, Account { profile, state });
        }
        Ok(())
    }

    fn read_suspense(&mut self, input: &mut Reader<'_>) -> Result<(), CheckpointError> {
        for _ in 0..input.len()? {
            let key = WaitingKey {
                account: AccountNumber(input.u64()?),
                identity: input.text()?,
                record_id: input.text()?,
            };
            let location = Location::from_bits(input.u64()?);
            let reason = SuspenseReason::from_code(input.u8()?);
            let reason = reason.ok_or(CheckpointError::Nonsense("suspense reasons"))?;
            let revision = input.u32()?;
            self.suspense.insert(key, Waiting { location, reason, detail: Detail::NONE, revision });
        }
        Ok(())
    }

    fn read_details(&mut self, input: &mut Reader<'_>) -> Result<(), CheckpointError> {
        let mut places = BTreeMap::new();
        for _ in 0..input.len()? {
            places.insert(input.len()?, Detail::new(input.text()?));
        }
        let count = self.suspense.len();
        if places.last_key_value().is_some_and(|(last, _)| *last >= count) {
            return Err(CheckpointError::Nonsense("suspense details"));
        }
        for (place, waiting) in self.suspense.iter_mut().enumerate() {
            if let Some(detail) = places.remove(&place) {
                waiting.detail = detail;
            }
        }
        Ok(())
    }

    fn read_cursors(&mut self, input: &mut Reader<'_>) -> Result<(), CheckpointError> {
        for _ in 0..input.len()? {
            let (sender, segment, ordinal) = (input.u32()?, input.u64()?, input.u32()?);
            let hash = input.bytes()?.to_vec();
            self.set_cursor(&PostingCursor { sender, segment, ordinal, hash });
        }
        Ok(())
    }

    fn read_run(&mut self, run: &[u8], progress: &dyn Fn()) -> Result<(), CheckpointError> {
        let mut input = Reader(run.strip_prefix(KEYS_MAGIC).ok_or(CheckpointError::Format)?);
        for at in 0..input.u64()? {
            if at % PROGRESS_EVERY as u64 == 0 {
                progress();
            }
            let key = Key {
                fingerprint: Fingerprint(input.u64()?),
                location: Location::from_bits(input.u64()?),
            };
            // Keys whose records have passed the acceptance horizon since the run was written are
            // omitted.
            if key.location.segment() > self.keys.forgotten_through() {
                self.keys.insert_sealed(key);
            }
        }
        input.end()
    }
}

fn encode_keys(keys: &[Key]) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(16 + keys.len() * 16));
    out.0.extend_from_slice(KEYS_MAGIC);
    out.u64(keys.len() as u64);
    for key in keys {
        out.u64(key.fingerprint.0);
        out.u64(key.location.bits());
    }
    out.0
}

fn write_profile(out: &mut Writer, profile: &Profile) {
    use prost::Message as _;
    out.len(profile.settings.len());
    for settings in &profile.settings {
        out.bytes(&settings.encode_to_vec());
    }
    out.len(profile.subscriptions.len());
    for subscription in &profile.subscriptions {
        out.bytes(&subscription.encode_to_vec());
    }
}

fn read_profile(input: &mut Reader<'_>) -> Result<Profile, CheckpointError> {
    use prost::Message as _;
    let nonsense = |_| CheckpointError::Nonsense("profiles");
    let mut profile = Profile::default();
    for _ in 0..input.len()? {
        profile.settings.push(Settings::decode(input.bytes()?).map_err(nonsense)?);
    }
    for _ in 0..input.len()? {
        profile.subscriptions.push(Subscription::decode(input.bytes()?).map_err(nonsense)?);
    }
    Ok(profile)
}
