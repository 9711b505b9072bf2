//! The way from `up` to three machines in docs/operating.md, followed step by step. Each machine is a
//! directory and a loopback address of its own; what systemd would start, the test starts by the units
//! of `cluster/systemd`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use turnpike_harness::postgres::PostgresServer;
use turnpike_harness::process::{free_port, without_settings};

use super::markdown::{Block, file, root};
use crate::support::server::Server;

/// The machines of the page: the end of their address, their node and their front.
const MACHINES: [(u8, &str, &str); 3] = [(1, "a", "f1"), (2, "b", "f2"), (3, "c", "f3")];

struct Place {
    dir: TempDir,
    database: String,
    /// The ports of nodes and of fronts.
    ports: [u16; 2],
}

impl Place {
    fn machine(&self, number: u8) -> PathBuf {
        self.dir.path().join(format!("machine-{number}"))
    }

    /// A text of the page, as it is on this machine instead of in the network of the page.
    fn here(&self, text: &str) -> String {
        let [node, front] = self.ports;
        let mut text = text.replace(
            "postgres://turnpike:SECRET@db.example.net/turnpike",
            &format!("'{}'", self.database),
        );
        for (number, ..) in MACHINES {
            let directory = format!("{}/", self.machine(number).display());
            text = text.replace(&format!("root@10.0.0.{number}:/etc/turnpike/"), &directory);
            for (page, here) in [(7071, node), (7070, front)] {
                let address = format!("127.0.0.{}:{here}", number + 1);
                text = text.replace(&format!("10.0.0.{number}:{page}"), &address);
            }
        }
        text.replace("scp ", "cp ")
    }

    /// A file of settings of the first machine, as it is on another one.
    fn settings(&self, text: &str, (number, node, front): (u8, &str, &str)) -> String {
        let own = text
            .replace("node-a", &format!("node-{node}"))
            .replace("front-f1", &format!("front-{front}"))
            .replace("\"a\"", &format!("\"{node}\""))
            .replace("0.0.0.0:", "10.0.0.1:")
            .replace("10.0.0.1:", &format!("10.0.0.{number}:"));
        self.here(&own).replace("/etc/turnpike", &self.machine(number).display().to_string())
    }

    fn run(&self, script: &str) {
        let mut command = Command::new("sh");
        let output = self.program(&mut command).args(["-ec", &self.here(script)]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{told}{}", output.status);
    }

    fn program<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let program = Path::new(env!("CARGO_BIN_EXE_turnpike")).parent().unwrap().display();
        let path = std::env::var("PATH").unwrap();
        without_settings(command)
            .env("PATH", format!("{program}:{path}"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
    }

    /// Starts what the unit starts.
    fn start(&self, unit: &str, number: u8) -> Server {
        let unit = file(&format!("cluster/systemd/{unit}.service")).text;
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let line = line
            .replace("/usr/local/bin/turnpike", env!("CARGO_BIN_EXE_turnpike"))
            .replace("/etc/turnpike", &self.machine(number).display().to_string());
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        self.program(&mut command).args(words).env("TURNPIKE_DATABASE", &self.database);
        Server::of(command)
    }
}

#[test]
fn the_steps_to_three_machines_work_as_they_are_written() {
    let server = PostgresServer::shared().unwrap();
    let place = Place {
        dir: tempfile::tempdir().unwrap(),
        database: server.create_database().unwrap(),
        ports: [free_port().unwrap(), free_port().unwrap()],
    };
    for (number, ..) in MACHINES {
        fs::create_dir(place.machine(number)).unwrap();
    }
    std::os::unix::fs::symlink(root().join("examples"), place.dir.path().join("examples")).unwrap();
    let page = file("docs/operating.md");
    let line_of = |start: &str| page.text.lines().position(|line| line == start).unwrap();
    let section = line_of("## Setting up")..line_of("## Settings");
    let blocks = page.blocks();
    let blocks = blocks.iter().filter(|block| section.contains(&block.line));
    let mut servers = Vec::new();
    let mut used = String::new();
    for Block { language, text, line } in blocks {
        match (*language, text.as_str()) {
            // The harness has made user and database.
            ("sh", text) if text.starts_with("createuser") => {}
            ("sh", text) if text.starts_with("systemctl enable --now") => {
                for unit in text.trim().split(' ').skip(3) {
                    servers.extend(MACHINES.map(|(number, ..)| place.start(unit, number)));
                }
                assert_eq!(servers.len(), 6, "{text}");
                servers.iter_mut().for_each(|server| drop(server.until("listens on")));
            }
            ("sh", text) if servers.is_empty() => place.run(text),
            // These share their variables.
            ("sh", text) => used.push_str(text),
            ("toml", text) => {
                let name = text.lines().next().unwrap().rsplit('/').next().unwrap();
                for machine in MACHINES {
                    let settings = place.settings(text, machine);
                    fs::write(place.machine(machine.0).join(name), settings).unwrap();
                }
            }
            ("ini", text) => assert!(text.contains("TURNPIKE_DATABASE="), "{line}: {text}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    // A partition may be on its way to the node that it prefers.
    let waiting = "for second in $(seq 30); do turnpike status && break; sleep 1; done";
    place.run(&used.replace("turnpike status\n", &format!("{waiting}\n")));
    let lines = fs::read_to_string(place.dir.path().join("lines.csv")).unwrap();
    assert!(lines.lines().count() > 5, "{lines}");
}
