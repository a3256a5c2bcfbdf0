//! The commands that talk to a running service through its socket.

use super::control::{Answer, Order, Other, Request, Status, same_user};
use super::runtime_folder::{self, socket, socket_in};
use crate::cli::{SetArgs, StatusArgs};
use crate::config::Config;
use crate::exit::Failure;
use crate::say::{self, plain};
use anyhow::{Context as _, anyhow};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a service may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take to end: the server may be slow to take modules away.
const END_LIMIT: Duration = Duration::from_secs(10);
/// No answer is longer, bytes.
const LONGEST_ANSWER: u64 = 1 << 20;
/// How often `monitor` asks.
const MONITOR: Duration = Duration::from_millis(500);

/// The connection to a service, after it has answered.
type Connection = BufReader<UnixStream>;

/// Asks the service of the merged source `name`.
fn ask(name: &str, request: &Request) -> Result<(Answer, Connection), Failure> {
    let path = socket(name);
    let none = |error: std::io::Error| {
        anyhow!(
            "no `driftmerge run` for `{name}` is at work here: {} does not answer ({error}); start one, or name its \
             source by PLAY_DEVICE_NAME",
            path.display()
        )
    };
    let folder = runtime_folder::existing().map_err(none)?;
    let stream = UnixStream::connect(socket_in(&folder, name)).map_err(none)?;
    if !same_user(&stream) {
        return Err(anyhow!("{} is another user's and is not believed", path.display()).into());
    }
    let mut line = serde_json::to_vec(request).context("the request cannot be written")?;
    line.push(b'\n');
    let mut answer = String::new();
    let mut connection = BufReader::new(stream);
    let stream = connection.get_mut();
    let answered = stream
        .set_read_timeout(Some(ANSWER_LIMIT))
        .and_then(|()| match stream.write_all(&line) {
            // Refused before it was asked: the answer says why.
            Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        })
        .and_then(|()| connection.by_ref().take(LONGEST_ANSWER).read_line(&mut answer));
    answered.with_context(|| format!("{} does not answer", path.display()))?;
    let answer = serde_json::from_str(&answer).with_context(|| format!("{} is of another version", path.display()))?;
    match answer {
        Answer::Refused(why) => Err(Failure::Usage(plain(&why).into_owned())),
        Answer::Failed(why) => Err(anyhow!(plain(&why).into_owned()).into()),
        answer => Ok((answer, connection)),
    }
}

fn ask_status(name: &str) -> Result<Status, Failure> {
    match ask(name, &Request::Status)?.0 {
        Answer::Status(status) => Ok(status),
        other => Err(anyhow!("the service answered {other:?} instead of its status").into()),
    }
}

/// Asks for something to be done, and prints that it was.
fn command(config: &Config, order: Order) -> Result<Connection, Failure> {
    let (answer, connection) = ask(&config.play_device, &Request::Do(order))?;
    if let Answer::Done(words) = answer {
        say::line(plain(&words))?;
    }
    Ok(connection)
}

/// The status for people: a line for the source, one for each microphone.
fn lines(status: &Status) -> String {
    use std::fmt::Write as _;
    let away = |present: bool| if present || status.resting { "" } else { "  (away)" };
    let resting = match (status.server, status.resting) {
        (false, _) => ", waiting for the sound server",
        (true, true) => ", resting: nobody records it",
        (true, false) => "",
    };
    let mut text = format!(
        "{}: latency {:.0} ms{resting}\n  {}: reference{}",
        plain(&status.source),
        status.latency_ms,
        plain(&status.reference),
        away(status.present)
    );
    for other in &status.others {
        let Other { microphone, state, lag_ms, drift_ppm, confidence, weight, .. } = other;
        write!(
            text,
            "\n  {}: {}, lag {lag_ms:.3} ms, drift {drift_ppm:.2} ppm, confidence {confidence:.2}, \
             share {weight:.2}{}",
            plain(microphone),
            plain(state),
            away(other.present)
        )
        .expect("a text takes all");
    }
    for notice in &status.notices {
        write!(text, "\n  note: {}", plain(notice)).expect("a text takes all");
    }
    text
}

/// Prints what a running service knows.
///
/// # Errors
/// There is none.
pub fn status(config: &Config, args: &StatusArgs) -> Result<(), Failure> {
    let status = ask_status(&config.play_device)?;
    if args.json {
        say::line(serde_json::to_string_pretty(&status).context("the status is no JSON")?)
    } else {
        say::line(lines(&status))
    }
}

/// Prints what a running service knows, again and again, until a signal comes or the service ends.
///
/// # Errors
/// There is none, or it ended.
pub fn monitor(config: &Config, args: &StatusArgs) -> Result<(), Failure> {
    let stop = super::ending::stop_on_signals()?;
    while !stop.load(Ordering::Relaxed) {
        let status = ask_status(&config.play_device)?;
        if args.json {
            say::line(serde_json::to_string(&status).context("the status is no JSON")?)?;
        } else {
            say::line(lines(&status))?;
        }
        std::thread::sleep(MONITOR);
    }
    Ok(())
}

/// Changes settings of a running service, all or none.
///
/// # Errors
/// There is none, or a value cannot be used.
pub fn set(config: &Config, args: &SetArgs) -> Result<(), Failure> {
    command(config, Order::Set(args.changes.clone())).map(drop)
}

/// Lets a running service forget what it learnt.
///
/// # Errors
/// There is none, or what was kept cannot be taken away.
pub fn reset(config: &Config) -> Result<(), Failure> {
    command(config, Order::Reset).map(drop)
}

/// Lets a running service keep what it learnt.
///
/// # Errors
/// There is none, it has learnt nothing yet, or the state folder cannot be written to.
pub fn save(config: &Config) -> Result<(), Failure> {
    command(config, Order::Save).map(drop)
}

/// Ends a running service, and returns when it has tidied up.
///
/// # Errors
/// There is none, or it does not end.
pub fn stop(config: &Config) -> Result<(), Failure> {
    let mut connection = command(config, Order::Stop)?;
    let stream = connection.get_mut();
    stream.set_read_timeout(Some(END_LIMIT)).context("cannot wait for the end")?;
    // The service closes the connection last of all.
    connection.read_to_end(&mut Vec::new()).context("the service has not ended yet")?;
    Ok(())
}
