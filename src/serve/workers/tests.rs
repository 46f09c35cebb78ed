//! Both shapes of the runtime serve, spread, outlive panics and drain.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tonic::body::Body;
use tower::service_fn;

use super::*;
use crate::config::args::ServeArgs;
use crate::config::{Config, Environment};
use crate::metrics::Metrics;
use crate::serve::listening;
use crate::transport::connections::{Door, Homes, Listener, Place};

const PATIENCE: Duration = Duration::from_secs(20);
const BOTH: [&str; 2] = ["per-core", "shared"];

fn config(runtime: &str) -> Config {
    let settings = [&format!("server.runtime={runtime}"), "server.workers=2"];
    let args = ServeArgs {
        settings: settings.map(str::to_owned).to_vec(),
        ..ServeArgs::default()
    };
    Config::load(&args, &Environment::new()).unwrap()
}

/// A server that answers over HTTP/1 which thread asks it; `/panic` panics, and `/wait` waits until it
/// is released.
struct Site {
    threads: Threads,
    metrics: Arc<Metrics>,
    tcp: Place,
    unix: Place,
    stop: Option<oneshot::Sender<()>>,
    release: watch::Sender<bool>,
    /// How many ever waited.
    waiting: Arc<AtomicUsize>,
    served: std::sync::mpsc::Receiver<()>,
    _folder: TempDir,
}

impl Site {
    fn start(runtime: &str) -> Self {
        let config = config(runtime);
        let threads = Threads::start(&config.server).unwrap();
        let metrics = Arc::new(Metrics::new([]));
        let folder = tempfile::tempdir().unwrap();
        let listeners = threads.main.block_on(async {
            let path = folder.path().join("ta.sock");
            let tcp = Listener::tcp("127.0.0.1:0".parse().unwrap()).await;
            [tcp.unwrap(), Listener::unix(&path, 0o600).await.unwrap()]
        });
        let [tcp, unix] = listeners.each_ref().map(|one| one.place().unwrap());
        let door = Door {
            listeners: listeners.into(),
            tls: None,
            bounds: listening::bounds(&config),
            metrics: metrics.clone(),
            homes: Homes::on(threads.workers.runtimes(), &metrics.connections),
        };
        let release = watch::Sender::new(false);
        let released = release.subscribe();
        let waiting = Arc::<AtomicUsize>::default();
        let count = waiting.clone();
        let service = service_fn(move |request: http::Request<Body>| {
            let (mut released, count) = (released.clone(), count.clone());
            async move {
                match request.uri().path() {
                    "/panic" => panic!("as the test wants it"),
                    "/wait" => {
                        count.fetch_add(1, Ordering::SeqCst);
                        let _ = released.wait_for(|released| *released).await;
                    }
                    _ => {}
                }
                let name = thread::current().name().unwrap_or_default().to_owned();
                Ok(http::Response::new(Body::new(name)))
            }
        });
        let (stop, stopped) = oneshot::channel();
        let (tell, served) = std::sync::mpsc::channel();
        threads.main.spawn(async move {
            door.serve(move || service.clone(), async { drop(stopped.await) })
                .await;
            tell.send(()).unwrap();
        });
        Self {
            threads,
            metrics,
            tcp,
            unix,
            stop: Some(stop),
            release,
            waiting,
            served,
            _folder: folder,
        }
    }

    fn over_tcp(&self) -> Peer {
        let Place::Tcp(address) = &self.tcp else {
            panic!("a TCP listener");
        };
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer(BufReader::new(Box::new(stream)))
    }

    fn over_unix(&self) -> Peer {
        let Place::Unix(path) = &self.unix else {
            panic!("a Unix socket");
        };
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer(BufReader::new(Box::new(stream)))
    }

    fn open(&self) -> [i64; 2] {
        [0, 1].map(|worker| self.metrics.connections.of_worker(worker).open())
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// A connection over HTTP/1.
struct Peer(BufReader<Box<dyn Stream>>);

impl Peer {
    fn asks(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    /// The body of the next answer; nothing where the connection ends instead.
    fn is_told(&mut self) -> Option<String> {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        String::from_utf8(body).ok()
    }

    fn thread(&mut self) -> String {
        self.asks("/");
        self.is_told().expect("an answer")
    }
}

fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "it never came about");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn connections_are_spread_evenly_over_workers_and_stay_there() {
    let site = Site::start("per-core");
    let mut peers: Vec<Peer> = (0..4)
        .flat_map(|_| [site.over_tcp(), site.over_unix()])
        .collect();
    let threads: Vec<String> = peers.iter_mut().map(Peer::thread).collect();
    for worker in ["worker-0", "worker-1"] {
        let there = threads.iter().filter(|thread| *thread == worker).count();
        assert_eq!(there, 4, "{threads:?}");
    }
    assert_eq!(site.open(), [4, 4]);
    let again: Vec<String> = peers.iter_mut().map(Peer::thread).collect();
    assert_eq!(again, threads);
    let gone = threads.iter().position(|thread| thread == "worker-1");
    drop(peers.remove(gone.unwrap()));
    until(|| site.open() == [4, 3]);
    let mut newcomer = site.over_tcp();
    assert_eq!(newcomer.thread(), "worker-1", "there are fewer");
    assert_eq!(site.open(), [4, 4]);
}

#[test]
fn a_shared_runtime_serves_on_its_own_threads() {
    let site = Site::start("shared");
    for mut peer in [site.over_tcp(), site.over_unix()] {
        assert_eq!(peer.thread(), "worker");
    }
    assert!(site.threads.workers.runtimes().is_empty());
}

#[test]
fn a_handler_that_panics_ends_its_connection_and_no_other() {
    for runtime in BOTH {
        let site = Site::start(runtime);
        let mut others = [(); 4].map(|()| site.over_tcp());
        let before = others.each_mut().map(Peer::thread);
        for _ in 0..4 {
            let mut peer = site.over_tcp();
            peer.asks("/panic");
            assert_eq!(peer.is_told(), None, "{runtime}");
        }
        let after = others.each_mut().map(Peer::thread);
        assert_eq!(before, after);
        until(|| site.open().iter().sum::<i64>() <= 4);
    }
}

#[test]
fn a_drain_waits_for_calls_in_hand_and_then_all_threads_end() {
    for runtime in BOTH {
        let mut site = Site::start(runtime);
        let mut waiting = [site.over_tcp(), site.over_tcp(), site.over_unix()];
        let mut idle = site.over_tcp();
        idle.thread();
        waiting.iter_mut().for_each(|peer| peer.asks("/wait"));
        until(|| site.waiting.load(Ordering::SeqCst) == 3);
        site.stop.take().unwrap().send(()).unwrap();
        assert_eq!(idle.is_told(), None, "{runtime}: it is told to go");
        let early = site.served.recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(RecvTimeoutError::Timeout), "{runtime}");
        site.release.send_replace(true);
        for peer in &mut waiting {
            assert!(peer.is_told().is_some(), "{runtime}");
        }
        site.served.recv_timeout(PATIENCE).expect("it has drained");
        site.threads.workers.end();
    }
}

#[test]
fn what_still_runs_on_a_worker_ends_with_it() {
    let workers = Workers::start(NonZeroUsize::new(2).unwrap()).unwrap();
    let (held, ended) = std::sync::mpsc::channel::<()>();
    for runtime in workers.runtimes() {
        let held = held.clone();
        runtime.spawn(async move {
            pending::<()>().await;
            drop(held);
        });
    }
    drop(held);
    workers.end();
    assert_eq!(ended.try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn a_worker_that_is_stuck_has_no_turn() {
    let site = Site::start("per-core");
    let runtimes = site.threads.workers.runtimes();
    let homes = Homes::on(runtimes.clone(), &site.metrics.connections);
    let turn = |limit| {
        let turn = async { tokio::time::timeout(limit, homes.turn()).await };
        site.threads.main.block_on(turn)
    };
    turn(PATIENCE).expect("nobody is stuck");
    let (release, stuck) = std::sync::mpsc::channel::<()>();
    runtimes[1].spawn(async move {
        let _ = stuck.recv();
    });
    turn(Duration::from_millis(50)).expect_err("one is stuck");
    release.send(()).unwrap();
    turn(PATIENCE).expect("it goes on");
}

#[test]
fn a_thread_that_panics_is_told() {
    let mut workers = Workers::start(NonZeroUsize::MIN).unwrap();
    let (tell, lost) = mpsc::unbounded_channel();
    workers.lost = lost;
    let doomed = thread("doomed".to_owned(), 7, tell, || {
        panic!("as the test wants it")
    });
    let runtime = Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(workers.lost()), 7);
    doomed.unwrap().join().unwrap_err();
}
