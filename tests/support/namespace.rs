//! Places that are really apart: network namespaces around a router, with lines that can be cut, cut one way and
//! slowed.
//!
//! ```text
//!   us-east ──┐      ┌── target
//!             router
//!   eu-west ──┘      └── coordinator
//! ```
//!
//! Nothing of a network appears among the host's own interfaces and routes, and no packet finds a way out of it. Its
//! namespaces have no names: they cannot collide, so every network uses the same addresses, and the kernel takes them
//! away with their last handle and process, however the test ends. Needs root and iproute2.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::panic;
use std::process::{self, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::environment;

/// Places and their lines to the router. Packets travel freely until a line is cut.
#[derive(Debug)]
pub struct Network {
    router: Namespace,
    places: BTreeMap<&'static str, Place>,
}

/// One place: a machine with one address and one line.
#[derive(Debug)]
struct Place {
    namespace: Namespace,
    /// The third byte of its addresses, which also names the router's end of its line.
    number: u8,
}

/// A handle on a network namespace, which lives as long as the handle or a process in it.
#[derive(Debug)]
struct Namespace(File);

/// Whether such networks can be made here.
#[must_use]
pub fn is_possible() -> bool {
    environment::is_root()
        && environment::tool("ip", &[]).is_some()
        && Network::start(&["here", "there"])
            .and_then(|network| network.block("here", "there"))
            .inspect_err(|error| println!("no networks: {error:#}"))
            .is_ok()
}

impl Network {
    /// Makes a network of these places.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(names: &[&'static str]) -> Result<Self> {
        let router = Namespace::new()?;
        router.within(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
        let mut places = BTreeMap::new();
        for (number, &name) in (1..).zip(names) {
            let place = Place { namespace: Namespace::new()?, number };
            let (line, gateway, address) = (place.line(), place.gateway(), place.address());
            let peer = place.namespace.path();
            router.run("ip", &format!("link add {line} type veth peer name uplink netns {peer}"))?;
            router.run("ip", &format!("address add {gateway}/24 dev {line}"))?;
            router.run("ip", &format!("link set {line} up"))?;
            place.namespace.run("ip", &format!("address add {address}/24 dev uplink"))?;
            place.namespace.run("ip", "link set uplink up")?;
            place.namespace.run("ip", &format!("route add default via {gateway}"))?;
            places.insert(name, place);
        }
        Ok(Self { router, places })
    }

    /// The address of a place.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn address(&self, place: &str) -> Result<Ipv4Addr> {
        Ok(self.place(place)?.address())
    }

    /// Does `work` at a place, in a thread of its own: sockets that it opens, and processes and threads that it
    /// starts, belong there for good, whoever uses them later.
    ///
    /// # Errors
    /// When there is no such place, or the system refuses.
    pub fn within<T: Send>(&self, place: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.place(place)?.namespace.within(work)
    }

    /// The same with the network itself, which ends with `work`.
    ///
    /// # Errors
    /// When there is no such place, or the system refuses.
    pub fn enter<T: Send>(self, place: &str, work: impl FnOnce(Self) -> T + Send) -> Result<T> {
        let there = self.place(place)?.namespace.try_clone()?;
        there.within(|| work(self))
    }

    /// Cuts a place off from all others: its line is down.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn cut(&self, place: &str) -> Result<()> {
        self.router.run("ip", &format!("link set {} down", self.place(place)?.line()))
    }

    /// Mends the line of a place that was cut off.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn mend(&self, place: &str) -> Result<()> {
        self.router.run("ip", &format!("link set {} up", self.place(place)?.line()))
    }

    /// Loses what is sent from one place to another from now on, silently. What is sent back still arrives.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn block(&self, from: &str, to: &str) -> Result<()> {
        self.rule("add", from, to)
    }

    /// Lets through again what was blocked.
    ///
    /// # Errors
    /// When it was not, or the system refuses.
    pub fn unblock(&self, from: &str, to: &str) -> Result<()> {
        self.rule("delete", from, to)
    }

    /// Lets only so many kilobits a second pass on a place's line, in either direction; more waits, up to 2 s.
    ///
    /// # Errors
    /// When the system refuses: some kernels lack the token bucket filter.
    pub fn slow(&self, place: &str, kilobits: u32) -> Result<()> {
        let place = self.place(place)?;
        // A bucket that holds one packet.
        let shape = format!("root tbf rate {kilobits}kbit burst 1600 latency 2s");
        self.router.run("tc", &format!("qdisc add dev {} {shape}", place.line()))?;
        place.namespace.run("tc", &format!("qdisc add dev uplink {shape}"))
    }

    fn rule(&self, action: &str, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.address(from)?, self.address(to)?);
        self.router.run("ip", &format!("rule {action} from {from} to {to} blackhole"))
    }

    fn place(&self, name: &str) -> Result<&Place> {
        self.places.get(name).with_context(|| format!("there is no place {name}"))
    }
}

impl Place {
    fn line(&self) -> String {
        format!("line{}", self.number)
    }

    const fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 1)
    }

    const fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 2)
    }
}

impl Namespace {
    /// A new one in which there is a loopback interface and nothing else.
    fn new() -> Result<Self> {
        let mut visitor = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo here && read farewell"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start unshare")?;
        let arrived = visitor.stdout.take().context("stdout is piped")?.read_exact(&mut [0]);
        let handle = File::open(format!("/proc/{}/ns/net", visitor.id()));
        drop(visitor.stdin.take());
        visitor.wait()?;
        arrived.context("no new network namespace")?;
        let namespace = Self(handle?);
        namespace.run("ip", "link set lo up")?;
        Ok(namespace)
    }

    fn try_clone(&self) -> Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Where other processes find it.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd())
    }

    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let there = || -> Result<T> {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .context("cannot enter a network namespace")?;
            Ok(work())
        };
        thread::scope(|scope| scope.spawn(there).join()).unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    fn run(&self, program: &str, arguments: &str) -> Result<()> {
        self.within(|| run(program, arguments))?
    }
}

/// Runs a program of iproute2 with arguments that contain no spaces.
fn run(program: &str, arguments: &str) -> Result<()> {
    let path = environment::tool(program, &[]).with_context(|| format!("{program} is not installed"))?;
    let output = Command::new(path).args(arguments.split_whitespace()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program} {arguments}`: {}", said.trim_end());
    Ok(())
}
