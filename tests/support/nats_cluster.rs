//! A cluster of three NATS servers for a single test, on free ports and in a temporary directory.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio, id},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::process::signal;

/// Three servers that form a cluster. Dropping it kills them.
pub struct NatsCluster {
    folder: PathBuf,
    nodes: Vec<Option<Child>>,
    /// The comma-separated URLs of the servers.
    pub urls: String,
}

impl NatsCluster {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts servers with additional settings for `JetStream`, such as limits.
    pub fn start_with(settings: &str) -> Self {
        // A client port and a cluster port for each server.
        let ports = [(); 3].map(|()| [free_port(), free_port()]);
        let folder = format!("soundhash-webhook-nats-{}-{}", id(), ports[0][0]);
        let folder = env::temp_dir().join(folder);
        let routes: Vec<_> = ports
            .iter()
            .map(|[_, route]| format!("\"nats-route://127.0.0.1:{route}\""))
            .collect();
        for (node, [client, route]) in ports.iter().enumerate() {
            let store = folder.join(node.to_string());
            fs::create_dir_all(&store).unwrap();
            let config = format!(
                "server_name: node{node}\nlisten: \"127.0.0.1:{client}\"\n\
                 jetstream {{ store_dir: \"{}\", sync_interval: always, {settings} }}\n\
                 cluster {{\n  name: test\n  listen: \"127.0.0.1:{route}\"\n  routes: [{}]\n}}\n",
                store.display(),
                routes.join(", ")
            );
            fs::write(folder.join(format!("{node}.conf")), config).unwrap();
        }
        let urls: Vec<_> = ports
            .iter()
            .map(|[client, _]| format!("nats://127.0.0.1:{client}"))
            .collect();
        let mut cluster = Self {
            folder,
            nodes: Vec::new(),
            urls: urls.join(","),
        };
        for node in 0..3 {
            let child = cluster.spawn(node);
            cluster.nodes.push(Some(child));
        }
        cluster
    }

    fn spawn(&self, node: usize) -> Child {
        let spawned = Command::new("nats-server")
            .arg("-c")
            .arg(self.folder.join(format!("{node}.conf")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        spawned.expect("nats-server (2.12 or later: https://nats.io/download)")
    }

    /// Returns the directory that holds all of the servers' data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn signal(&self, node: usize, name: &str) {
        let child = self.nodes[node].as_ref().expect("the server runs");
        signal(child.id(), name);
    }

    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn restart(&mut self, node: usize) {
        self.nodes[node] = Some(self.spawn(node));
    }
}

impl Drop for NatsCluster {
    fn drop(&mut self) {
        for node in 0..3 {
            self.kill(node);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns a port that is also free while its server restarts. The system gives connections only
/// ports from 32768 on.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = id() + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + u16::try_from(number % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
