//! A network of its own, as another machine's: nothing reaches it but what enters it.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, gone when dropped.
pub struct Namespace(Door);

/// The way into a namespace, as long as that is there.
#[derive(Clone)]
pub struct Door {
    name: String,
}

impl Namespace {
    /// Makes one with a loopback interface. None, where this user or this kernel cannot; it says why.
    pub fn new() -> Option<Self> {
        let namespace = Self(Door { name: format!("driftmerge-test-{}", std::process::id()) });
        let ip = |arguments: &[&str]| {
            let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(said) }
        };
        let name = namespace.0.name.as_str();
        let made = ip(&["netns", "add", name]).and_then(|()| ip(&["-n", name, "link", "set", "lo", "up"]));
        // Whoever may make one may not be let into it, in a container for one.
        let entered = made.and_then(|()| namespace.0.try_within(|| ()).map_err(|error| error.to_string()));
        entered.inspect_err(|why| println!("no network namespace can be had: {why}")).ok().map(|()| namespace)
    }

    /// The way into it.
    pub fn door(&self) -> Door {
        self.0.clone()
    }
}

impl Door {
    /// Does `work` in it: sockets made there, and programs started there, are in it for good.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.try_within(work).expect("it has been entered before")
    }

    fn try_within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
        let file = File::open(format!("/var/run/netns/{}", self.name))?;
        // It is a thread that is in a namespace; this one stays where it is.
        std::thread::scope(|scope| {
            let entering = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            entering.join().expect("the work does not panic")
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0.name]).output();
    }
}
