use super::*;

fn page(registry: &Registry) -> String {
    prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

#[test]
fn what_is_known_in_advance_is_there_from_the_start() {
    let registry = Registry::new();
    let _metrics = ControllerMetrics::register(&registry).unwrap();
    let page = page(&registry);
    for controller in ["authconfig", "secret", "authconfig_status"] {
        for result in RESULTS {
            let line =
                format!("controller_runtime_reconcile_total{{controller=\"{controller}\",result=\"{result}\"}} 0\n");
            assert!(page.contains(&line), "{line}{page}");
        }
        for family in [
            "controller_runtime_reconcile_errors_total",
            "controller_runtime_terminal_reconcile_errors_total",
            "controller_runtime_reconcile_time_seconds_count",
            "controller_runtime_active_workers",
        ] {
            assert!(page.contains(&format!("{family}{{controller=\"{controller}\"}} 0\n")), "{family}: {page}");
        }
        for family in [
            "workqueue_depth",
            "workqueue_adds_total",
            "workqueue_retries_total",
            "workqueue_queue_duration_seconds_count",
            "workqueue_work_duration_seconds_count",
            "workqueue_unfinished_work_seconds",
            "workqueue_longest_running_processor_seconds",
        ] {
            assert!(page.contains(&format!("{family}{{name=\"{controller}\"}} 0\n")), "{family}: {page}");
        }
    }
    for line in [
        "controller_runtime_max_concurrent_reconciles{controller=\"authconfig\"} 1\n",
        "controller_runtime_max_concurrent_reconciles{controller=\"secret\"} 1\n",
        "certwatcher_read_certificate_total 0\n",
        "certwatcher_read_certificate_errors_total 0\n",
        "usher_source_connected 0\n",
        "usher_source_restored_from_snapshot 0\n",
        "controller_runtime_reconcile_time_seconds_bucket{controller=\"secret\",le=\"60\"} 0\n",
        "workqueue_queue_duration_seconds_bucket{name=\"secret\",le=\"0.00000001\"} 0\n",
    ] {
        assert!(page.contains(line), "{line}{page}");
    }
    for family in ["rest_client_requests_total", "leader_election_master_status"] {
        assert!(!page.contains(family), "{family}: {page}");
    }
}

#[test]
fn work_is_counted_on_its_way() {
    let registry = Registry::new();
    let metrics = ControllerMetrics::register(&registry).unwrap();
    let controller = metrics.authconfig();
    controller.queued(3);
    controller.taken(2, Duration::from_millis(5));
    let busy = controller.busy();
    assert!(page(&registry).contains("controller_runtime_active_workers{controller=\"authconfig\"} 1\n"));
    drop(busy);
    controller.reconciled(1, Duration::from_millis(20), Outcome::Success);
    controller.reconciled(1, Duration::from_millis(20), Outcome::TerminalError);
    controller.retried(1);
    metrics.source_connected(true);
    metrics.leadership("a.authorino.kuadrant.io").set(1);
    let page = page(&registry);
    for line in [
        "workqueue_adds_total{name=\"authconfig\"} 3\n",
        "workqueue_depth{name=\"authconfig\"} 1\n",
        "workqueue_retries_total{name=\"authconfig\"} 1\n",
        "workqueue_queue_duration_seconds_bucket{name=\"authconfig\",le=\"0.01\"} 2\n",
        "workqueue_queue_duration_seconds_bucket{name=\"authconfig\",le=\"0.001\"} 0\n",
        "controller_runtime_active_workers{controller=\"authconfig\"} 0\n",
        "controller_runtime_reconcile_total{controller=\"authconfig\",result=\"success\"} 1\n",
        "controller_runtime_reconcile_total{controller=\"authconfig\",result=\"error\"} 1\n",
        "controller_runtime_reconcile_errors_total{controller=\"authconfig\"} 1\n",
        "controller_runtime_terminal_reconcile_errors_total{controller=\"authconfig\"} 1\n",
        "controller_runtime_reconcile_time_seconds_count{controller=\"authconfig\"} 2\n",
        "workqueue_work_duration_seconds_count{name=\"authconfig\"} 2\n",
        "workqueue_depth{name=\"secret\"} 0\n",
        "usher_source_connected 1\n",
        "leader_election_master_status{name=\"a.authorino.kuadrant.io\"} 1\n",
    ] {
        assert!(page.contains(line), "{line}{page}");
    }
}

#[test]
fn families_are_registered_once() {
    let registry = Registry::new();
    let _metrics = ControllerMetrics::register(&registry).unwrap();
    assert!(ControllerMetrics::register(&registry).is_err());
}
