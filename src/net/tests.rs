//! The policy, and that clients and connections obey it.

use std::net::{IpAddr, SocketAddr};

use axum::{Router, response::Redirect, routing::get};
use url::Url;

use super::*;

fn refused(policy: &AddressPolicy, url: &str) -> bool {
    policy.check_url(&Url::parse(url).unwrap()).is_err()
}

fn loopback_allowed() -> AddressPolicy {
    AddressPolicy {
        allow_loopback: true,
        ..AddressPolicy::default()
    }
}

#[test]
fn refuses_addresses_that_lead_inside_however_they_are_written() {
    let policy = AddressPolicy::default();
    for url in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0.0.0.0/",
        "http://169.254.169.254/latest/meta-data",
        "http://169.254.170.23/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://192.0.0.192/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[fe80::1]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://[fd00:ec2::254]/",
        "http://[fd00:ec2::23]/",
        "http://[fd20:ce::254]/",
        "http://[fd00:42::42]/",
        // addresses of IPv4 in those of IPv6: mapped, translated, compatible, NAT64, 6to4, Teredo (server, client), ISATAP
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:0:169.254.169.254]/",
        "http://[::ffff:0:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[::0.0.0.2]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[64:ff9b:1::a9fe:a9fe]/",
        "http://[64:ff9b:1:a9fe:a9:fe00::]/",
        "http://[64:ff9b:1:ffff::808:808]/",
        "http://[2002:7f00:1::]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://[2001:0:7f00:1::]/",
        "http://[2001:0:808:808::5601:5601]/",
        "http://[2606:4700::5efe:7f00:1]/",
        "http://[2606:4700::200:5efe:a9fe:a9fe]/",
    ] {
        assert!(refused(&policy, url), "{url}");
    }
    for url in [
        "http://93.184.216.34/",
        "http://10.0.0.1/",
        "http://[2606:4700::1111]/",
        "http://[64:ff9b::808:808]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[2002:808:808::1]/",
        "http://[2001:0:808:808::f7f7:f7f7]/",
        "http://[fd12:3456::1]/",
        "http://example.com/",
    ] {
        assert!(!refused(&policy, url), "{url}");
    }
}

#[test]
fn loopback_and_nothing_else_opens_when_allowed() {
    let policy = loopback_allowed();
    for open in ["http://127.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/"] {
        assert!(!refused(&policy, open), "{open}");
    }
    for closed in [
        "http://169.254.169.254/",
        "http://0.0.0.0/",
        "http://[::ffff:0:a9fe:a9fe]/",
    ] {
        assert!(refused(&policy, closed), "{closed}");
    }
}

#[test]
fn a_host_from_data_is_on_the_internet_whatever_else_is_allowed() {
    let policy = AddressPolicy {
        only_public: true,
        allow_hosts: vec!["*".into(), "10.0.0.1".into(), "8.8.8.8".into()],
        ..loopback_allowed()
    };
    let everywhere = AddressPolicy {
        allow_hosts: Vec::new(),
        ..policy.clone()
    };
    assert!(refused(&policy, "http://10.0.0.1/") && !refused(&policy, "http://8.8.8.8/"));
    for url in [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.168.1.1/",
        "http://100.64.0.1/",
        "http://100.127.255.255/",
        "http://192.0.2.1/",
        "http://198.18.0.1/",
        "http://169.254.169.254/",
        "http://[fd12::1]/",
        "http://[fc00::1]/",
        "http://[fe80::1]/",
        "http://[2001:db8::1]/",
        "http://[4000::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[2002:a00:1::]/",
    ] {
        assert!(refused(&everywhere, url), "{url}");
    }
    for url in [
        "http://8.8.8.8/",
        "http://172.32.0.1/",
        "http://100.128.0.1/",
        "http://[2606:4700::1111]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[64:ff9b::808:808]/",
    ] {
        assert!(!refused(&everywhere, url), "{url}");
    }
}

#[test]
fn closed_networks_and_lists_of_hosts_hold() {
    let policy = AddressPolicy {
        deny: vec!["10.0.0.0/8".parse().unwrap(), "fd12::/16".parse().unwrap()],
        ..AddressPolicy::default()
    };
    for url in [
        "http://10.1.2.3/",
        "http://[::ffff:10.1.2.3]/",
        "http://[64:ff9b::a01:203]/",
        "http://[fd12::1]/",
    ] {
        assert!(refused(&policy, url), "{url}");
    }
    let policy = AddressPolicy {
        allow_hosts: vec!["api.example.com".into(), "*.Example.org".into()],
        ..AddressPolicy::default()
    };
    for host in ["api.example.com", "a.b.example.org", "API.example.com."] {
        assert!(!refused(&policy, &format!("https://{host}/x")), "{host}");
        assert!(policy.check_host(host).is_ok(), "{host}");
    }
    for host in ["example.com", "example.org", "evilexample.org", "93.184.216.34"] {
        assert!(refused(&policy, &format!("https://{host}/x")), "{host}");
        assert!(policy.check_host(host).is_err(), "{host}");
    }
}

#[test]
fn one_address_that_may_not_be_called_refuses_a_host_in_any_order() {
    let policy = AddressPolicy::default();
    let addresses =
        |texts: [&str; 2]| texts.map(|text| SocketAddr::new(text.parse::<IpAddr>().unwrap(), 443));
    assert!(
        policy
            .check_resolved("h", &addresses(["93.184.216.34", "2606:4700::1111"]))
            .is_ok()
    );
    for both in [["93.184.216.34", "127.0.0.1"], ["fd00:ec2::254", "93.184.216.34"]] {
        let refused = policy.check_resolved("h.example", &addresses(both)).unwrap_err();
        assert!(refused.to_string().starts_with("h.example is "), "{refused}");
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test]
async fn clients_and_connections_refuse_names_by_what_they_resolve_to() {
    let address = serve(Router::new().route("/", get(|| async { "here" }))).await;
    let url = format!("http://localhost:{}/", address.port());
    let (closed, open) = (
        Network::new(AddressPolicy::default()),
        Network::new(loopback_allowed()),
    );
    let error = closed
        .client()
        .build()
        .unwrap()
        .get(&url)
        .send()
        .await
        .unwrap_err();
    assert!(
        matches!(refusal_in(&error), Some(AddressRefused::Address { .. })),
        "{error:?}"
    );
    for host in ["localhost", "127.0.0.1", "::1"] {
        let error = closed.connect(host, address.port()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused(_)), "{host}: {error:?}");
    }
    let answer = open.client().build().unwrap().get(&url).send().await.unwrap();
    assert_eq!(&read_body(answer, 4).await.unwrap()[..], b"here");
    let answer = open.client().build().unwrap().get(&url).send().await.unwrap();
    assert!(matches!(read_body(answer, 3).await, Err(BodyError::TooLarge(3))));
    open.connect("127.0.0.1", address.port()).await.unwrap();
}

#[tokio::test]
async fn every_hop_of_a_redirect_is_judged() {
    let to = |target: &'static str| get(move || async move { Redirect::temporary(target) });
    let router = Router::new()
        .route("/near", to("/here"))
        .route("/far", to("http://169.254.169.254/"))
        .route("/round", to("/round"))
        .route("/here", get(|| async { "here" }));
    let address = serve(router).await;
    let network = Network::new(loopback_allowed());
    let client = network.client().redirect(network.redirects(3)).build().unwrap();
    let answer = |path: &str| client.get(format!("http://{address}{path}")).send();
    assert!(answer("/near").await.unwrap().status().is_success());
    let error = answer("/far").await.unwrap_err();
    assert!(refusal_in(&error).is_some(), "{error:?}");
    assert!(answer("/round").await.is_err());
    // without a policy for redirects there are none
    let plain = network.client().build().unwrap();
    let answer = plain.get(format!("http://{address}/near")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 307);
}

#[tokio::test]
async fn a_proxy_is_used_only_where_the_network_is_told_to() {
    // the proxy is asked for the whole address, and knows names that this machine does not
    let proxy = serve(Router::new().fallback(|uri: http::Uri| async move { format!("proxied {uri}") })).await;
    let direct = serve(Router::new().fallback(|| async { "direct" })).await;
    let proxy_url: Url = format!("http://user:password@{proxy}").parse().unwrap();
    let told = Network::new(AddressPolicy::default())
        .through_proxy(&proxy_url)
        .unwrap();
    assert!(!format!("{told:?}").contains("password"));
    let get = |network: &Network, url: String| {
        let request = network.client().build().unwrap().get(url);
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    let url = "http://only-the-proxy-knows.example/x";
    assert_eq!(get(&told, url.into()).await, format!("proxied {url}"));
    // what is written as an address is judged here in any case
    assert!(
        told.check_url(&"http://169.254.169.254/".parse().unwrap())
            .is_err()
    );
    assert_eq!(
        get(&Network::new(loopback_allowed()), format!("http://{direct}/")).await,
        "direct"
    );
    for wrong in ["socks5://proxy:1", "file:///x"] {
        assert!(
            Network::new(AddressPolicy::default())
                .through_proxy(&wrong.parse().unwrap())
                .is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn certificate_authorities_are_certificates() {
    let network = || Network::new(AddressPolicy::default());
    assert!(matches!(network().trusting(b""), Err(NetworkError::NoRoots)));
    assert!(
        network()
            .trusting(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
            .is_err()
    );
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["ca.example".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let trusting = network().trusting(made.pem().as_bytes()).unwrap();
    assert!(format!("{trusting:?}").contains("roots: 1"));
    trusting.client().build().unwrap();
}
