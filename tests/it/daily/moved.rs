//! An endpoint whose name gets another address.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;

use rolefs::dev_server::{BucketConfig, Config, DevServer};

use crate::harness::{BUCKET, World, content};
use crate::launch::Container;
use crate::written::stored;

const LARGE: usize = 48 << 20;

fn server(world: &World, ip: IpAddr, port: u16) -> DevServer {
    let config = Config {
        listen: SocketAddr::new(ip, port),
        buckets: vec![BucketConfig::new(BUCKET)],
        ..Config::default()
    };
    let server = world.runtime.block_on(DevServer::start(config)).unwrap();
    server.put(BUCKET, "large", content(1, LARGE)).unwrap();
    server.put(BUCKET, "small", content(2, 1000)).unwrap();
    server
}

#[test]
fn an_endpoint_that_moves_is_followed_in_the_middle_of_a_file() {
    let world = World::open();
    let [here, there] = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
    let first = server(&world, here, 0);
    let port = first.address().port();
    let second = server(&world, there, port);
    // In place: it is what the container has as its file of names.
    let name = |ip: IpAddr| {
        let line = format!("{ip} {BUCKET}.oss.moves.test\n");
        fs::write(world.path("hosts"), line).unwrap();
    };
    name(here);
    let container = Container::new(&world);
    let endpoint = format!("--endpoint=http://oss.moves.test:{port}");
    let mount = world.launch(
        "mnt",
        container.with(&world, "hosts", "/etc/hosts"),
        &[&endpoint, "--memory=16MiB"],
    );
    let mut file = File::create(mount.at("written")).unwrap();
    std::io::Write::write_all(&mut file, b"to the one").unwrap();
    let large = File::open(mount.at("large")).unwrap();
    let mut bytes = vec![0; LARGE];
    let (begin, rest) = bytes.split_at_mut(1 << 20);
    large.read_exact_at(begin, 0).unwrap();
    assert_eq!(second.stats().requests(), 0);
    name(there);
    // Its connections, also those in use, end with it.
    world.runtime.block_on(first.shutdown());
    large.read_exact_at(rest, 1 << 20).unwrap();
    assert!(bytes == content(1, LARGE));
    assert!(mount.read("small") == content(2, 1000));
    std::io::Write::write_all(&mut file, b" or the other").unwrap();
    file.sync_all().unwrap();
    let there = second.get(BUCKET, "written").unwrap();
    assert_eq!(there, "to the one or the other");
    assert_eq!(stored(&world, "written"), None, "the world's own server");
    drop((file, large));
    assert_eq!(mount.unmount().value("rolefs_fuse_errors_total"), 0);
    drop(container);
}
