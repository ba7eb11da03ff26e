//! `vigilmon`: the coordinator, alone (`serve`) or with everything a first look needs (`up`).

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use coordinator::app::App;
use coordinator::config::{self, Config, Flags};
use coordinator::{app, telemetry, up};
use model::{Clock, SystemClock, SystemRandom};
use tracing::warn;

/// Uptime and heartbeat monitoring with probes in many regions.
#[derive(Parser)]
#[command(name = "vigilmon", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything on this machine: coordinator, an agent per region, a monitor per URL
    Up(up::Args),
    /// Run the coordinator
    Serve(Flags),
    /// Bring the database to this version's schema and say what was done
    Migrate(Flags),
}

/// Wrong usage or configuration.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (flags, default_log) = match &cli.command {
        Command::Up(args) => (&args.flags, "warn"),
        Command::Serve(flags) | Command::Migrate(flags) => (flags, "info"),
    };
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is handed to `config`")]
    let env = |name: &str| std::env::var(name).ok();
    let config = match config::load(flags, &env) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                eprintln!("vigilmon: {problem}");
            }
            return ExitCode::from(USAGE);
        }
    };
    telemetry::start(env("VIGILMON_LOG").as_deref(), default_log);
    if !config.synchronous {
        warn!("VIGILMON_UNSAFE_SYNCHRONOUS=off: a power failure loses what was acked; for tests only");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended =
        runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(cli.command, config)));
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vigilmon: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, config: Config) -> anyhow::Result<bool> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    match command {
        Command::Up(args) => up::run(args, config, clock, Arc::new(SystemRandom)).await,
        Command::Serve(_) => {
            let app = App::bind(&config, clock, Arc::new(SystemRandom), vec![]).await?;
            if app.new_admin_key.is_some() {
                eprintln!(
                    "vigilmon: the first admin key is in {}",
                    config.data.join(app::ADMIN_KEY_FILE).display()
                );
            }
            Ok(app.start().until_signal().await)
        }
        Command::Migrate(_) => {
            let _held = coordinator::data_dir::DataDir::take_over(&config.data).await?;
            let applied = store::sqlite::migrate(&app::database_options(&config), clock.now()).await?;
            for migration in &applied {
                println!("applied {:04} {}", migration.version, migration.name);
            }
            println!("{} is up to date", config.database.display());
            Ok(true)
        }
    }
}
