//! A running nginx.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::process::{PATIENCE, signal};

/// A running nginx. Dropping it ends the process.
pub struct Nginx {
    child: Child,
    folder: PathBuf,
    /// The scheme and the address.
    pub url: String,
}

impl Nginx {
    /// Starts nginx with these lines in its `server` block. Returns `None` if it is not installed.
    pub fn start(server: &str) -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // The listener is closed at once, because nginx needs the port.
        let addr = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        let (id, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("soundhash-webhook-nginx-{id}-{count}");
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.display();
        // The worker needs the folder, which belongs to this user.
        let is_root = folder.metadata().expect("a folder").uid() == 0;
        let user = if is_root { "user root;" } else { "" };
        let config = format!(
            "{user} daemon off; worker_processes 1; pid {path}/pid; error_log stderr;
            events {{}}
            http {{
                access_log off; client_max_body_size 64m;
                client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
                fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;
                scgi_temp_path {path}/scgi;
                server {{ listen {addr}; {server} }}
            }}"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, config).expect("a file");
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .args(["-p", &path.to_string(), "-e", "stderr"])
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let url = format!("http://{addr}");
        let nginx = Self { child, folder, url };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < deadline, "nginx does not start");
            sleep(Duration::from_millis(10));
        }
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The worker ends only if nginx is asked to stop.
        signal(self.child.id(), "TERM");
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
