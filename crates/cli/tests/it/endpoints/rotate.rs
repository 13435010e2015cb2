//! Secret rotation by creating a second endpoint.

use std::fs;

use serde_json::json;

use super::api::Api;
use crate::support::{Run, folder};

fn api(is_active: bool) -> Api {
    let api = Api::start();
    api.add(&json!({
        "url": "https://app.example.com/hooks", "events": ["match.found"], "description": "Ours",
        "custom_headers": {"X-Api-Key": "cust0m"}, "rate_limit_per_minute": 60,
        "is_active": is_active, "total_deliveries": 41,
    }));
    api
}

#[test]
fn the_old_endpoint_is_deleted_when_it_is_confirmed() {
    let api = api(true);
    let file = folder("rotate").join("secret");
    let line = format!("rotate 7 --secret-file {}", file.display());
    let parts = "each event arrives twice | Delete the old endpoint 7 | Endpoint 7 is deleted";
    let ran = api.command(&line).reads("yes\n").expect(0, parts);
    assert!(!ran.all().contains("cust0m"), "{ran:#?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "made-by-soundhash-8");

    let requests: Vec<_> = api.log().into_iter().map(|(request, _)| request).collect();
    let path = "/api/v1/webhooks";
    assert_eq!(
        requests,
        [
            format!("GET {path}/7"),
            format!("POST {path}"),
            format!("DELETE {path}/7")
        ]
    );
    assert_eq!(
        api.log()[1].1,
        json!({
            "url": "https://app.example.com/hooks", "events": ["match.found"],
            "description": "Ours", "custom_headers": {"X-Api-Key": "cust0m"},
            "rate_limit_per_minute": 60,
        })
    );
}

#[test]
fn both_endpoints_remain_when_it_is_not() {
    let parts = "Both endpoints remain | endpoints delete 7 | endpoints delete 8";
    for reply in ["no\n", "\n", "", "delete\n"] {
        let api = api(true);
        let ran = api.command("rotate 7").reads(reply).expect(1, parts);
        assert!(ran.stdout.contains("made-by-soundhash-8"), "{ran:#?}");
        assert_eq!(api.stored.lock().unwrap().endpoints.len(), 2);
    }
    // If the old endpoint is switched off, the new one stays off as well.
    let api = api(false);
    let ran = api.command("rotate 7").reads("y\n");
    let ran = ran.expect(0, "Both endpoints are switched off");
    assert!(!ran.all().contains("deliver now"), "{ran:#?}");
    let stored = api.stored.lock().unwrap();
    assert_eq!(stored.endpoints[&8]["is_active"], false);
    assert_eq!(stored.endpoints.len(), 1);
}
