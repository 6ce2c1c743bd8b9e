//! Builds that go well.

use world::World;

const MULTI_STAGE: &str = r#"
FROM base AS build
ARG GREETING=hello
WORKDIR /src
COPY main.sh .
RUN --mount=type=cache,target=/cache echo run >> /cache/log && cp main.sh /app.sh && echo "echo $GREETING" >> /app.sh
RUN chmod 755 /app.sh && ln /app.sh /app-link.sh && mkdir -p /data && touch /data/keep /data/gone

FROM base AS files
COPY --from=build /data /data
RUN rm /data/gone

FROM base
LABEL org.example.kind="test"
ENV NAME=world
COPY --chmod=0750 --chown=web:web --from=build /app.sh /usr/app.sh
COPY --from=files /data /data
COPY <<EOF /etc/motd
from a heredoc for $NAME
EOF
USER web
CMD ["sh", "/usr/app.sh"]
"#;

#[test]
fn a_multi_stage_image_builds_and_runs() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.write("context/main.sh", "echo \"hi $NAME\"\ncat /etc/motd\nls /data\nid -u\n");
    world.dockerfile(MULTI_STAGE);
    world.build(&["-t", "app", "--build-arg", "GREETING=ahoy"]).ok();
    let run = world.shale(&["run", "app"]);
    assert_eq!(run.ok(), "hi world\nfrom a heredoc for world\nkeep\n1000\nahoy");
    let listed = world.shale(&["images"]);
    assert!(listed.ok().contains("app"), "{listed}");
    let inspected: serde_json::Value =
        serde_json::from_str(world.shale(&["inspect", "app"]).ok()).unwrap();
    assert!(inspected.to_string().contains("org.example.kind"), "{inspected}");
    assert!(world.shale(&["history", "app"]).ok().contains("COPY"));
}

#[test]
fn the_command_s_exit_code_is_run_s() {
    let world = World::new();
    if !world.base() {
        return;
    }
    assert_eq!(world.shale(&["run", "base", "sh", "-c", "exit 7"]).code, Some(7));
    assert_eq!(world.shale(&["run", "-e", "A=b", "base", "sh", "-c", "echo $A"]).ok(), "b");
    let echoed = world.shale_with_input(&["run", "base", "cat"], b"from outside");
    assert_eq!(echoed.ok(), "from outside");
}

#[test]
fn the_context_may_be_a_stream() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let dockerfile = b"FROM base\nRUN echo from-stdin > /made\n";
    world.shale_with_input(&["build", "-t", "a", "-"], dockerfile).ok(); // CTX-08
    assert_eq!(world.shale(&["run", "a", "cat", "/made"]).ok(), "from-stdin");
    let tar = testkit::rootfs::TarBuilder::new()
        .file("Dockerfile", 0o644, b"FROM base\nCOPY in.txt /in.txt\n")
        .file("in.txt", 0o644, b"packed\n")
        .finish();
    world.shale_with_input(&["build", "-t", "b", "-"], &tar).ok();
    assert_eq!(world.shale(&["run", "b", "cat", "/in.txt"]).ok(), "packed");
    let two = world.shale_with_input(&["build", "-f", "other", "-"], dockerfile);
    let ambiguous = "both stdin and flag correspond to Dockerfiles"; // CTX-09
    two.fails(2, &[ambiguous]);
    world.write("context/f", "beside\n");
    let copies = b"FROM base\nCOPY f /f\n";
    world.shale_with_input(&["build", "-t", "c", "-f", "-", "."], copies).ok(); // CTX-07
    assert_eq!(world.shale(&["run", "c", "cat", "/f"]).ok(), "beside");
}

#[test]
fn secrets_reach_the_step_and_not_the_image() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let secret = world.write("secret.txt", "s3cret-value");
    world.dockerfile(
        "FROM base\nRUN --mount=type=secret,id=token sha256sum /run/secrets/token > /sum\n",
    );
    let flag = format!("id=token,src={}", secret.display());
    let outputs = ["-o", "type=tar,dest=../image.tar", "-o", "../tree"];
    world.build(&[&["--secret", &flag, "-t", "a"][..], &outputs].concat()).ok();
    let tar = std::fs::read(world.path("image.tar")).unwrap();
    assert!(!tar.windows(12).any(|bytes| bytes == b"s3cret-value"));
    assert!(world.read("tree/sum").contains("/run/secrets/token"));
    assert!(!world.path("tree/run/secrets").exists());
}

#[test]
fn without_a_name_the_id_is_printed() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.dockerfile("FROM base\nENV A=b\n");
    let id = world.build(&[]).ok().to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    world.shale(&["build", "-q", "--iidfile", "../id", "."]).ok();
    assert_eq!(world.read("id"), id); // OUT-40
    assert!(world.shale(&["images", "--no-trunc"]).ok().contains("<none>"));
    world.shale(&["tag", &id, "named:1"]).ok();
    assert_eq!(world.shale(&["run", "named:1", "sh", "-c", "echo $A"]).ok(), "b");
    world.shale(&["rmi", "named:1"]).ok();
    assert_ne!(world.shale(&["inspect", "named:1"]).code, Some(0));
}
