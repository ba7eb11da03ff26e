//! What one monitor needs of others, as callers say and see it.

use super::*;

/// A monitor of this host, depending on these.
fn of(host: &str, parents: &[&str]) -> wire::Monitor {
    let depends_on = parents.iter().map(|parent| (*parent).to_owned()).collect();
    wire::Monitor { depends_on, ..monitor(&format!("http://{host}")) }
}

/// An update of a monitor's dependencies alone.
async fn depend(bench: &Bench, id: &str, parents: &[&str]) -> Result<wire::Monitor, Status> {
    let asked = wire::Monitor { id: id.into(), ..of("ignored.example", parents) };
    bench.update(asked, &["depends_on"]).await
}

async fn delete(bench: &Bench, id: &str) -> Result<(), Status> {
    let request = wire::DeleteMonitorRequest { id: id.into(), etag: String::new() };
    bench.admin.delete_monitor(Request::new(request)).await.map(Response::into_inner)
}

#[tokio::test]
async fn dependencies_are_named_by_id_or_name_and_answered_as_sorted_ids() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let mut ids = vec![];
    for host in ["b.example", "a.example"] {
        ids.push(bench.create(of(host, &[])).await.unwrap().id);
    }
    let site = bench.create(of("site.example", &["a.example", &ids[0], "b.example"])).await.unwrap();
    ids.sort();
    assert_eq!(site.depends_on, ids);

    // Another field's update leaves them alone, and so does one of a dependency's name.
    let renamed = wire::Monitor { id: ids[0].clone(), name: "renamed".into(), ..wire::Monitor::default() };
    bench.update(renamed, &["name"]).await.unwrap();
    let slower = wire::Monitor { id: site.id.clone(), interval: secs(90), ..wire::Monitor::default() };
    assert_eq!(bench.update(slower, &["interval"]).await.unwrap().depends_on, ids);
    assert_eq!(depend(&bench, &site.id, &["renamed"]).await.unwrap().depends_on, ids[..1]);
    let none = depend(&bench, &site.id, &[]).await.unwrap();
    assert!(none.depends_on.is_empty());
    assert_eq!(none.spec_revision, 2, "what agents check depends on no dependency");
}

#[tokio::test]
async fn what_is_no_other_monitor_is_refused() {
    let bench = Bench::with_regions(&["us-east"]).await;
    let job = bench.heartbeat("job").await;
    let id = bench.create(of("a.example", &[])).await.unwrap().id;
    for parent in ["nobody", "", "job", &job.id] {
        let refusal = bench.create(of("b.example", &[parent])).await;
        assert_eq!(refused(refusal), (Code::InvalidArgument, vec!["depends_on".into()]), "{parent}");
    }
    let many = vec!["a.example"; 21];
    assert_eq!(refused(bench.create(of("b.example", &many)).await).1, ["depends_on"]);
    bench.create(of("b.example", &many[1..])).await.unwrap();
    for itself in ["a.example", &id] {
        let refusal = depend(&bench, &id, &[itself]).await.unwrap_err();
        assert_eq!(refusal.message(), "depends_on: a monitor cannot depend on itself");
    }
}

#[tokio::test]
async fn a_cycle_is_refused_and_told_by_its_names() {
    let bench = Bench::with_regions(&["us-east"]).await;
    bench.create(of("a.example", &[])).await.unwrap();
    bench.create(of("b.example", &["a.example"])).await.unwrap();
    bench.create(of("c.example", &["b.example"])).await.unwrap();
    let refusal = depend(&bench, "a.example", &["c.example"]).await;
    let text = refusal.as_ref().unwrap_err().message().to_owned();
    assert_eq!(refused(refusal), (Code::InvalidArgument, vec!["depends_on".into()]));
    assert!(text.contains("a.example → c.example → b.example → a.example"), "{text}");
}

#[tokio::test]
async fn a_chain_that_is_too_long_is_refused() {
    let bench = Bench::with_regions(&["us-east"]).await;
    bench.create(of("0.example", &[])).await.unwrap();
    let mut refusal = None;
    for level in 1..50 {
        let parent = format!("{}.example", level - 1);
        let created = bench.create(of(&format!("{level}.example"), &[&parent])).await;
        if created.is_err() {
            refusal = Some(created);
            break;
        }
    }
    let refusal = refusal.expect("chains have an end");
    assert!(refusal.as_ref().unwrap_err().message().contains("levels deep"), "{refusal:?}");
    assert_eq!(refused(refusal), (Code::InvalidArgument, vec!["depends_on".into()]));
}

#[tokio::test]
async fn a_monitor_that_others_depend_on_is_not_deleted_and_the_way_out_is_told() {
    let bench = Bench::with_regions(&["us-east"]).await;
    bench.create(of("db.example", &[])).await.unwrap();
    for host in ["api.example", "site.example"] {
        bench.create(of(host, &["db.example"])).await.unwrap();
    }
    let refusal = delete(&bench, "db.example").await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    let expected = ["`db.example` cannot be deleted", "api.example", "site.example", "--clear depends-on"];
    for part in expected {
        assert!(refusal.message().contains(part), "{part}: {refusal}");
    }
    delete(&bench, "api.example").await.unwrap();
    depend(&bench, "site.example", &[]).await.unwrap();
    delete(&bench, "db.example").await.unwrap();
}
