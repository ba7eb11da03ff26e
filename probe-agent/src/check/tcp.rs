//! TCP checks: a connection, and what is said and heard over it.

use model::TcpCheck;
use model::check::text;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::expect::Expected;
use super::{Attempt, Network, Stopped, Trace, add, dial, host};

impl Attempt for TcpCheck {
    async fn attempt(&self, network: &Network, trace: &mut Trace) -> Result<(), Stopped> {
        let mut stream = network.dialer.dial(host(&self.host), self.port, trace).await?;
        let started = Instant::now();
        let send = text::to_bytes(&self.send).unwrap_or_default();
        if !send.is_empty() {
            stream.write_all(&send).await.map_err(|error| dial::refusal(&error))?;
        }
        let expected = Expected::new(&self.expect);
        if !expected.is_met() {
            expected.read(&mut stream, trace).await?;
            add(&mut trace.phases.first_byte, started);
        }
        Ok(())
    }
}
