//! A coordinator that has much to watch, made through its admin API.

use anyhow::{Context, Result};
use proto::admin::v1::{
    ChannelKind, CreateStatusPageRequest, Heartbeat, Monitor, StatusPage,
    status_pages_client::StatusPagesClient,
};
use support::admin::seconds;
use support::{Admin, Coordinator};
use tokio::task::JoinSet;

/// Requests under way at once.
const AT_ONCE: usize = 64;

/// Creates so many monitors with this interval, in every region there is.
///
/// # Errors
/// When the coordinator refuses one.
pub(crate) async fn create_monitors(admin: &Admin, count: usize, interval_secs: u64) -> Result<Vec<String>> {
    many(count, |index| {
        let admin = admin.clone();
        async move {
            let monitor = Monitor {
                url: format!("http://127.0.0.1:9/service/{index}/health"),
                interval: seconds(interval_secs),
                ..Monitor::default()
            };
            Ok(admin.create_monitor(monitor).await?.id)
        }
    })
    .await
}

/// Creates a monitor and so many that depend on it, each on a host of its own, which all notify a channel. Returns the
/// first one's id.
///
/// # Errors
/// When the coordinator refuses one.
pub(crate) async fn create_family(
    admin: &Admin,
    children: usize,
    interval_secs: u64,
    channel: &str,
) -> Result<String> {
    let monitor = |host: &str, depends_on: Vec<String>| Monitor {
        url: format!("http://{host}/"),
        interval: seconds(interval_secs),
        channels: vec![channel.to_owned()],
        depends_on,
        ..Monitor::default()
    };
    let parent = admin.create_monitor(monitor("parent.example", vec![])).await?.id;
    many(children, |index| {
        let (admin, child) =
            (admin.clone(), monitor(&format!("child-{index}.example"), vec![parent.clone()]));
        async move { Ok(admin.create_monitor(child).await?.id) }
    })
    .await?;
    Ok(parent)
}

/// Creates so many heartbeats that notify one each of some new channels to `receiver`, and returns the paths of their
/// ping URLs.
///
/// # Errors
/// When the coordinator refuses one.
pub(crate) async fn create_heartbeats(
    admin: &Admin,
    count: usize,
    channels: usize,
    receiver: &str,
) -> Result<Vec<String>> {
    for number in 0..channels {
        let name = format!("{number} of {channels}");
        admin.create_channel(ChannelKind::Webhook, &name, receiver).await?;
    }
    many(count, |index| {
        let admin = admin.clone();
        async move {
            let heartbeat = Heartbeat {
                name: format!("job {index} with {channels} channels"),
                interval: seconds(3_600),
                channels: index
                    .checked_rem(channels)
                    .map(|number| format!("{number} of {channels}"))
                    .into_iter()
                    .collect(),
                ..Heartbeat::default()
            };
            let url = admin.create_heartbeat(heartbeat).await?.ping_url;
            let path = url.find("/api/heartbeat/").context("a ping URL")?;
            Ok(url[path..].to_owned())
        }
    })
    .await
}

/// Publishes a page with these monitors; returns its path.
///
/// # Errors
/// When the coordinator refuses.
pub(crate) async fn publish_page(coordinator: &Coordinator, components: &[String]) -> Result<String> {
    let channel = tonic::transport::Endpoint::from_shared(coordinator.url(""))?.connect().await?;
    let page = StatusPage {
        name: "Bench".to_owned(),
        slug: "bench".to_owned(),
        components: components.to_vec(),
        ..StatusPage::default()
    };
    let mut request = tonic::Request::new(CreateStatusPageRequest { status_page: Some(page) });
    request.metadata_mut().insert("authorization", format!("Bearer {}", coordinator.admin_key()?).parse()?);
    StatusPagesClient::new(channel).create_status_page(request).await?;
    Ok("/status/bench".to_owned())
}

/// Makes `count` of something, [`AT_ONCE`] at a time.
async fn many<T, F>(count: usize, make: impl Fn(usize) -> F) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let (mut making, mut made) = (JoinSet::new(), Vec::with_capacity(count));
    for index in 0..count {
        if making.len() == AT_ONCE {
            made.push(making.join_next().await.context("one is under way")???);
        }
        making.spawn(make(index));
    }
    while let Some(one) = making.join_next().await {
        made.push(one??);
    }
    Ok(made)
}
