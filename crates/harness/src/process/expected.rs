//! Notices that a process ends which is expected to run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// The time between two looks at the processes.
const LOOK: Duration = Duration::from_millis(50);

/// Child processes of this process that are expected to run. Copies are one list.
#[derive(Clone, Debug, Default)]
pub struct ExpectedProcesses(Arc<Mutex<BTreeMap<String, u32>>>);

/// An expected process has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnexpectedEnd {
    /// The name of the process.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// How it ended: `by signal 9`, `with exit code 1`.
    pub how: String,
}

impl fmt::Display for UnexpectedEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}) ended {}", self.name, self.pid, self.how)
    }
}

impl ExpectedProcesses {
    /// From now on, the process is expected to run.
    pub fn expect(&self, name: &str, pid: u32) {
        self.list().insert(name.to_owned(), pid);
    }

    /// The caller is about to end the process. A process that has ended already stays in the list,
    /// so that [`Self::ended`] reports it.
    pub fn release(&self, name: &str) {
        let mut list = self.list();
        if list.get(name).is_some_and(|pid| how_ended(*pid).is_none()) {
            list.remove(name);
        }
    }

    /// Waits until one of the processes has ended.
    pub async fn ended(&self) -> UnexpectedEnd {
        loop {
            if let Some(end) = self.find() {
                return end;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn find(&self) -> Option<UnexpectedEnd> {
        self.list().iter().find_map(|(name, &pid)| {
            how_ended(pid).map(|how| UnexpectedEnd { name: name.clone(), pid, how })
        })
    }

    fn list(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a child process ended; `None` while it runs. The handle of the process learns its end as if
/// this had not looked.
fn how_ended(pid: u32) -> Option<String> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // An error means that the process is no longer a child: its handle has reported its end.
    let status = waitid(WaitId::Pid(pid), look).ok()??;
    Some(match (status.terminating_signal(), status.exit_status()) {
        (Some(signal), _) => format!("by signal {signal}"),
        (None, Some(code)) => format!("with exit code {code}"),
        (None, None) => "in an unknown way".to_owned(),
    })
}
