//! The thread of a server: accepts connections, goes away, and comes back.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};

use crate::{http, state::State};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A server that runs on a thread of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) control: Control,
    thread: Option<JoinHandle<()>>,
}

/// Tells the thread what to do.
#[derive(Clone)]
pub(crate) struct Control(UnboundedSender<Command>);

enum Command {
    Pause(Option<mpsc::Sender<()>>),
    Resume(Option<mpsc::Sender<()>>),
    AwayFor(Duration),
    Stop,
}

impl Server {
    /// Listens on a port of the loopback interface; 0 for any.
    pub(crate) fn start(state: Arc<State>, port: u16) -> io::Result<Self> {
        let (sender, commands) = unbounded_channel();
        let control = Control(sender);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (ports, listener) = {
            let _inside = runtime.enter();
            let ports = Ports::take(port)?;
            let listener = ports.listen()?;
            (ports, listener)
        };
        let address = ports.address;
        let inner = control.clone();
        let thread = std::thread::Builder::new().name("kubernetes-api-double".to_owned());
        let thread = thread.spawn(move || runtime.block_on(run(state, ports, listener, inner, commands)))?;
        Ok(Self { address, control, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Control {
    /// Returns when no connection is left, and new ones are refused.
    pub(crate) fn pause(&self) {
        self.wait_for(Command::Pause);
    }

    /// Returns when connections are accepted again.
    pub(crate) fn resume(&self) {
        self.wait_for(Command::Resume);
    }

    pub(crate) fn go_away_for(&self, time: Duration) {
        self.send(Command::AwayFor(time));
    }

    fn wait_for(&self, command: impl FnOnce(Option<mpsc::Sender<()>>) -> Command) {
        let (done, wait) = mpsc::channel();
        self.send(command(Some(done)));
        let _ = wait.recv();
    }

    fn send(&self, command: Command) {
        // Without a thread there is nothing to tell.
        let _ = self.0.send(command);
    }
}

/// The port: it stays ours while nobody listens.
struct Ports {
    address: SocketAddr,
    /// Bound, but never listening.
    _reserved: TcpSocket,
}

impl Ports {
    fn take(port: u16) -> io::Result<Self> {
        let reserved = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        Ok(Self { address: reserved.local_addr()?, _reserved: reserved })
    }

    fn listen(&self) -> io::Result<TcpListener> {
        socket(self.address)?.listen(BACKLOG)
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn run(
    state: Arc<State>,
    ports: Ports,
    listener: TcpListener,
    control: Control,
    mut commands: UnboundedReceiver<Command>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Pause(done)) => {
                    listener = None;
                    connections.shutdown().await;
                    tell(done);
                }
                Some(Command::Resume(done)) => {
                    if listener.is_none() {
                        listener = Some(ports.listen().expect("the port is reserved"));
                    }
                    tell(done);
                }
                Some(Command::AwayFor(time)) => {
                    control.send(Command::Pause(None));
                    let control = control.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(time).await;
                        control.send(Command::Resume(None));
                    });
                }
                Some(Command::Stop) | None => break,
            },
            accepted = accept(listener.as_ref()) => {
                let (state, control) = (Arc::clone(&state), control.clone());
                let service = service_fn(move |request| {
                    let answer = http::answer(Arc::clone(&state), control.clone(), request);
                    async move { Ok::<_, std::convert::Infallible>(answer.await) }
                });
                connections.spawn(async move {
                    let mut server = http1::Builder::new();
                    // A client that goes away in the middle is its own affair.
                    let _ = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(accepted), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn accept(listener: Option<&TcpListener>) -> tokio::net::TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            return stream;
        }
    }
}

fn tell(done: Option<mpsc::Sender<()>>) {
    if let Some(done) = done {
        let _ = done.send(());
    }
}
