//! A real SpiceDB, or its real engine behind a server of ours; its schema and its relationships.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use prost::Message;
use tempfile::TempDir;
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::{parts, ports::free_port, process::Process, wait::PATIENCE};

/// The preshared key of the server.
pub(crate) const KEY: &str = "preshared";

/// A server that keeps everything in memory: it knows nothing when it starts. It may be up or down, always at the same
/// port.
#[derive(Debug)]
pub(crate) struct SpiceDb {
    /// None while it is down.
    process: Option<Process>,
    /// The program and its first arguments.
    program: Vec<PathBuf>,
    folder: TempDir,
    port: u16,
}

impl SpiceDb {
    /// A server that is up. None if it cannot run on this machine, and may be left out.
    pub(crate) fn start() -> Option<Self> {
        let program = parts::spicedb()?;
        let mut spicedb = Self { process: None, program, folder: tempfile::tempdir().unwrap(), port: free_port() };
        spicedb.launch();
        Some(spicedb)
    }

    /// `host:port`
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Replaces the schema. Waits for the server, if that has just been started.
    pub(crate) fn write_schema(&mut self, schema: &str) {
        let started = Instant::now();
        let request = WriteSchemaRequest { schema: schema.to_owned() };
        while let Err(status) = self.call("/authzed.api.v1.SchemaService/WriteSchema", request.clone()) {
            let process = self.process.as_mut().unwrap();
            if let Some(status) = process.exit_status() {
                panic!("SpiceDB ended with {status}:\n{}", process.output());
            }
            assert!(started.elapsed() < PATIENCE, "the schema cannot be written: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Adds relationships `type:id#relation@type:id`, with `[caveat]` at the end where they depend on one.
    pub(crate) fn write_relationships(&self, relationships: &[&str]) {
        let updates = relationships
            .iter()
            .map(|text| RelationshipUpdate { operation: TOUCH, relationship: Some(Relationship::parse(text)) })
            .collect();
        let request = WriteRelationshipsRequest { updates };
        self.call("/authzed.api.v1.PermissionsService/WriteRelationships", request).unwrap();
    }

    /// Ends it. What it knew is gone.
    pub(crate) fn stop(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Starts it again.
    pub(crate) fn launch(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let (program, first_arguments) = self.program.split_first().unwrap();
        let mut command = Command::new(program);
        command
            .args(first_arguments)
            .args(["serve", "--grpc-addr", &self.address(), "--grpc-preshared-key", KEY])
            .args(["--datastore-engine", "memory", "--http-enabled=false", "--metrics-enabled=false"])
            .args(["--skip-release-check", "--telemetry-endpoint="]);
        self.process = Some(Process::start("SpiceDB", &mut command, &self.folder.path().join("spicedb.log")));
    }

    fn call<T: Message + 'static>(&self, path: &'static str, message: T) -> Result<(), tonic::Status> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.address())).unwrap();
            let channel = endpoint.connect().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
            let mut client: Grpc<Channel> = Grpc::new(channel);
            client.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
            let mut request = Request::new(message);
            request.metadata_mut().insert("authorization", format!("Bearer {KEY}").parse().unwrap());
            let codec = ProstCodec::<T, Written>::default();
            client.unary(request, PathAndQuery::from_static(path), codec).await.map(|_| ())
        })
    }
}

/// Of the answers nothing is of interest.
#[derive(Clone, PartialEq, Message)]
struct Written {}

#[derive(Clone, PartialEq, Message)]
struct WriteSchemaRequest {
    #[prost(string, tag = "1")]
    schema: String,
}

#[derive(Clone, PartialEq, Message)]
struct WriteRelationshipsRequest {
    #[prost(message, repeated, tag = "1")]
    updates: Vec<RelationshipUpdate>,
}

#[derive(Clone, PartialEq, Message)]
struct RelationshipUpdate {
    #[prost(int32, tag = "1")]
    operation: i32,
    #[prost(message, optional, tag = "2")]
    relationship: Option<Relationship>,
}

/// Create it, unless it is there.
const TOUCH: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct Relationship {
    #[prost(message, optional, tag = "1")]
    resource: Option<ObjectReference>,
    #[prost(string, tag = "2")]
    relation: String,
    #[prost(message, optional, tag = "3")]
    subject: Option<SubjectReference>,
    #[prost(message, optional, tag = "4")]
    optional_caveat: Option<ContextualizedCaveat>,
}

#[derive(Clone, PartialEq, Message)]
struct ObjectReference {
    #[prost(string, tag = "1")]
    object_type: String,
    #[prost(string, tag = "2")]
    object_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct SubjectReference {
    #[prost(message, optional, tag = "1")]
    object: Option<ObjectReference>,
}

#[derive(Clone, PartialEq, Message)]
struct ContextualizedCaveat {
    #[prost(string, tag = "1")]
    caveat_name: String,
}

impl Relationship {
    fn parse(text: &str) -> Self {
        let (text, caveat) = match text.strip_suffix(']') {
            Some(text) => {
                let (text, caveat) = text.split_once('[').unwrap();
                (text, Some(ContextualizedCaveat { caveat_name: caveat.to_owned() }))
            }
            None => (text, None),
        };
        let (resource, rest) = text.split_once('#').unwrap();
        let (relation, subject) = rest.split_once('@').unwrap();
        let object = |text: &str| {
            let (object_type, object_id) = text.split_once(':').unwrap();
            Some(ObjectReference { object_type: object_type.to_owned(), object_id: object_id.to_owned() })
        };
        Self {
            resource: object(resource),
            relation: relation.to_owned(),
            subject: Some(SubjectReference { object: object(subject) }),
            optional_caveat: caveat,
        }
    }
}
