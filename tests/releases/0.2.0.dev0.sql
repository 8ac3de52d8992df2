BEGIN TRANSACTION;
CREATE TABLE "access_keys" (
	access_key TEXT NOT NULL, 
	secret_key TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_access_keys PRIMARY KEY (access_key)
);
INSERT INTO "access_keys" VALUES('UEPKRBDK6S6WHS1BXGQC','gAAAAABrB5f64GqWGojxNYjcETrOaLPtBCk0jZwg6GPckVVc92BN1iTkQ5m0F6DUduswz_vv76yJhwhZx1sGuEUh84sNQJHZMICuMd1I1QYS6tRsrARjFa8lUfga9w-Am53O1Ru98qOP','3e9b798e0efb4bd6bc4fa89fdadc4aab',1,1795659770747);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
CREATE TABLE application_versions (
    version_id TEXT NOT NULL PRIMARY KEY,
    version_name TEXT NOT NULL UNIQUE,
    version_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL);
INSERT INTO "application_versions" VALUES('9bfa11f8-5ef3-4604-a604-61d90df47443','1',1795659770000,1795659770000,'cachewright');
CREATE TABLE audit (
	sequence INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	request_id TEXT NOT NULL, 
	project_id TEXT, 
	user_id TEXT NOT NULL, 
	user_name TEXT NOT NULL, 
	credential TEXT NOT NULL, 
	source TEXT NOT NULL, 
	action TEXT NOT NULL, 
	method TEXT NOT NULL, 
	path TEXT NOT NULL, 
	status INTEGER, 
	error_code TEXT, 
	CONSTRAINT pk_audit PRIMARY KEY (sequence)
);
INSERT INTO "audit" VALUES(1,1795659774595,'2dc89a0fc939fa1b3d0c24653e80b85d','60382b6ecb764ec497897c6d5795a9f7','3e9b798e0efb4bd6bc4fa89fdadc4aab','admin','key UEPKRBDK6S6WHS1BXGQC','127.0.0.1','dcs:instance:create','POST','/v2/60382b6ecb764ec497897c6d5795a9f7/instances',200,NULL);
INSERT INTO "audit" VALUES(2,1795659784521,'5e49639337e5ad200aadb59d0910ebfb','60382b6ecb764ec497897c6d5795a9f7','3e9b798e0efb4bd6bc4fa89fdadc4aab','admin','key UEPKRBDK6S6WHS1BXGQC','127.0.0.1','dcs:instance:scale','POST','/v2/60382b6ecb764ec497897c6d5795a9f7/instances/331e0924-cd62-4e32-a02c-c34901f2afe5/resize',204,NULL);
CREATE TABLE controls (
	task_id TEXT NOT NULL, 
	wish TEXT NOT NULL, 
	parallel INTEGER, 
	latency_ceiling_ms FLOAT, hurry BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_controls PRIMARY KEY (task_id)
);
CREATE TABLE dbos_migrations (version INTEGER NOT NULL PRIMARY KEY);
INSERT INTO "dbos_migrations" VALUES(125);
CREATE TABLE deliveries (
	sequence INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	webhook_id TEXT NOT NULL, 
	event TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	body TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	status TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	queued BOOLEAN NOT NULL, 
	next_try_at BIGINT, 
	http_status INTEGER, 
	error TEXT NOT NULL, 
	CONSTRAINT pk_deliveries PRIMARY KEY (sequence), 
	CONSTRAINT uq_deliveries_id UNIQUE (id)
);
CREATE TABLE grants (
	user_id TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	role TEXT NOT NULL, 
	CONSTRAINT pk_grants PRIMARY KEY (user_id, project_id)
);
INSERT INTO "grants" VALUES('3e9b798e0efb4bd6bc4fa89fdadc4aab','60382b6ecb764ec497897c6d5795a9f7','admin');
CREATE TABLE instances (
	id TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	status TEXT NOT NULL, 
	engine_version TEXT NOT NULL, 
	spec_code TEXT NOT NULL, 
	seed_port INTEGER NOT NULL, 
	password TEXT, 
	attributes TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	user_name TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	launched_at BIGINT, 
	error_code TEXT, 
	CONSTRAINT pk_instances PRIMARY KEY (id)
);
INSERT INTO "instances" VALUES('331e0924-cd62-4e32-a02c-c34901f2afe5','60382b6ecb764ec497897c6d5795a9f7','cache','EXTENDING','7.0','redis.cluster.xu1.large.r1.s1.2',11511,'gAAAAABrB5f-aoCb8FVdB-1gRmXPlXplCPrBrDMVTwz7bSvyNoCxk59AGIlUuBIOmvaFU8USlGWLbvc1p0ZfwJyhGluMgjy1fQ==','{"vpc_id":"local","subnet_id":"local","az_codes":["local"]}','3e9b798e0efb4bd6bc4fa89fdadc4aab','admin',1795659774605,1795659784539,1795659775485,NULL);
CREATE TABLE nodes (
	id TEXT NOT NULL, 
	instance_id TEXT NOT NULL, 
	shard INTEGER NOT NULL, 
	role TEXT NOT NULL, 
	host TEXT NOT NULL, 
	port INTEGER NOT NULL, 
	bus_port INTEGER NOT NULL, 
	maxmemory BIGINT NOT NULL, 
	wanted BOOLEAN NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_nodes PRIMARY KEY (id), 
	CONSTRAINT uq_nodes_host_bus_port UNIQUE (host, bus_port), 
	CONSTRAINT uq_nodes_host_port UNIQUE (host, port)
);
INSERT INTO "nodes" VALUES('d24da01de5e3d2fa2359c811403899b052f6a449','331e0924-cd62-4e32-a02c-c34901f2afe5',0,'master','127.0.0.1',11511,11512,1073741824,1,1795659774605);
INSERT INTO "nodes" VALUES('2646b0491f7706cb895b8c15f4c9c8c0215ca17d','331e0924-cd62-4e32-a02c-c34901f2afe5',1,'master','127.0.0.1',11513,11514,1073741824,1,1795659774605);
INSERT INTO "nodes" VALUES('74b0f85ec6b100e63a68f332ad7deba4e071d349','331e0924-cd62-4e32-a02c-c34901f2afe5',2,'master','127.0.0.1',28239,28240,1073741824,1,1795659784647);
CREATE TABLE notifications (
    message_uuid TEXT NOT NULL DEFAULT (hex(randomblob(16))) PRIMARY KEY,
    destination_uuid TEXT NOT NULL,
    topic TEXT,
    message TEXT NOT NULL,
    created_at_epoch_ms INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000), "serialization" TEXT DEFAULT NULL, "consumed" BOOLEAN NOT NULL DEFAULT FALSE, consumed_by_function_id INTEGER,
    FOREIGN KEY (destination_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE "operation_outputs" (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    function_name TEXT NOT NULL DEFAULT '',
    output TEXT,
    error TEXT,
    child_workflow_id TEXT,
    started_at_epoch_ms INTEGER,
    completed_at_epoch_ms INTEGER,
    serialization TEXT,
    application_name TEXT DEFAULT NULL,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    PRIMARY KEY (workflow_uuid, function_id)
);
INSERT INTO "operation_outputs" VALUES('54795a9b62ac418b81878a7fe5ecbd3e',1,'plan','gAROLg==',NULL,NULL,1795659774670,1795659774717,'py_pickle','cachewright',1795659774000);
INSERT INTO "operation_outputs" VALUES('54795a9b62ac418b81878a7fe5ecbd3e',2,'check resources:05e546bd-aba4-5158-9caf-b60bfccde768','gAROLg==',NULL,NULL,1795659774747,1795659774781,'py_pickle','cachewright',1795659774000);
INSERT INTO "operation_outputs" VALUES('54795a9b62ac418b81878a7fe5ecbd3e',3,'start node:0d87691c-54d6-55cb-9047-79a6fcf8d6e6','gAROLg==',NULL,NULL,1795659774787,1795659774952,'py_pickle','cachewright',1795659774000);
INSERT INTO "operation_outputs" VALUES('54795a9b62ac418b81878a7fe5ecbd3e',4,'start node:cbd9f679-6091-5d2b-ab83-338a113a5456','gAROLg==',NULL,NULL,1795659774787,1795659775156,'py_pickle','cachewright',1795659775000);
INSERT INTO "operation_outputs" VALUES('54795a9b62ac418b81878a7fe5ecbd3e',5,'form cluster:31845c7c-fc4c-5b51-806c-e0c40142df18','gAROLg==',NULL,NULL,1795659775165,1795659775481,'py_pickle','cachewright',1795659775000);
INSERT INTO "operation_outputs" VALUES('54795a9b62ac418b81878a7fe5ecbd3e',6,'end','gAROLg==',NULL,NULL,1795659775483,1795659775493,'py_pickle','cachewright',1795659775000);
INSERT INTO "operation_outputs" VALUES('c9a9953e939c4e59bac90416b2780baa',1,'plan','gAROLg==',NULL,NULL,1795659784619,1795659784863,'py_pickle','cachewright',1795659784000);
INSERT INTO "operation_outputs" VALUES('c9a9953e939c4e59bac90416b2780baa',2,'check resources:7e9c4b71-12ba-5bf1-a5f1-25766a6ca66d','gAROLg==',NULL,NULL,1795659784877,1795659784922,'py_pickle','cachewright',1795659784000);
INSERT INTO "operation_outputs" VALUES('c9a9953e939c4e59bac90416b2780baa',3,'check status:a7ab1574-3b41-58aa-b843-c50395399878','gAROLg==',NULL,NULL,1795659784966,1795659785033,'py_pickle','cachewright',1795659785000);
INSERT INTO "operation_outputs" VALUES('c9a9953e939c4e59bac90416b2780baa',4,'start node:6aefa9fb-8394-5630-8889-6882832e4109','gAROLg==',NULL,NULL,1795659785081,1795659785243,'py_pickle','cachewright',1795659785000);
INSERT INTO "operation_outputs" VALUES('c9a9953e939c4e59bac90416b2780baa',5,'join cluster:fbc400ef-e26c-5632-9995-a99d0dc788ec','gAROLg==',NULL,NULL,1795659785261,1795659785555,'py_pickle','cachewright',1795659785000);
INSERT INTO "operation_outputs" VALUES('c9a9953e939c4e59bac90416b2780baa',6,'move slots:3c7eb3b4-914c-585d-9eac-fb18bed82ad2','gAROLg==',NULL,NULL,1795659785565,1795659786553,'py_pickle','cachewright',1795659786000);
CREATE TABLE projects (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_projects PRIMARY KEY (id), 
	CONSTRAINT uq_projects_name UNIQUE (name)
);
INSERT INTO "projects" VALUES('60382b6ecb764ec497897c6d5795a9f7','local',1795659770728);
CREATE TABLE queues (
    queue_id TEXT PRIMARY KEY DEFAULT (hex(randomblob(16))),
    name TEXT NOT NULL UNIQUE,
    concurrency INTEGER,
    worker_concurrency INTEGER,
    rate_limit_max INTEGER,
    rate_limit_period_sec REAL,
    priority_enabled BOOLEAN NOT NULL DEFAULT FALSE,
    partition_queue BOOLEAN NOT NULL DEFAULT FALSE,
    polling_interval_sec REAL NOT NULL DEFAULT 1.0,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL, "partition_concurrency" INTEGER DEFAULT NULL, "partition_worker_concurrency" INTEGER DEFAULT NULL, "partition_rate_limit_max" INTEGER DEFAULT NULL, "partition_rate_limit_period_sec" REAL DEFAULT NULL);
INSERT INTO "queues" VALUES('A45A4F67E24291B332DCEF48F2F752EA','instances',NULL,NULL,NULL,NULL,1,1,1.0,1795659770000,1795659770654,'cachewright',1,NULL,NULL,NULL);
INSERT INTO "queues" VALUES('EBA614E4E286904C13ADF717ABFCF173','webhooks',NULL,8,NULL,NULL,1,1,1.0,1795659770000,1795659770673,'cachewright',1,NULL,NULL,NULL);
CREATE TABLE rates (
	action TEXT NOT NULL, 
	units_per_second FLOAT NOT NULL, 
	samples INTEGER NOT NULL, 
	CONSTRAINT pk_rates PRIMARY KEY (action)
);
CREATE TABLE streams (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    "offset" INTEGER NOT NULL, function_id INTEGER NOT NULL DEFAULT 0, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key, "offset"),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE task_counts (
	owner TEXT NOT NULL, 
	tasks INTEGER NOT NULL, 
	CONSTRAINT pk_task_counts PRIMARY KEY (owner)
);
INSERT INTO "task_counts" VALUES('331e0924-cd62-4e32-a02c-c34901f2afe5',2);
INSERT INTO "task_counts" VALUES('60382b6ecb764ec497897c6d5795a9f7',2);
CREATE TABLE tasks (
	sequence INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	instance_id TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	status TEXT NOT NULL, 
	params TEXT NOT NULL, 
	details TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	user_name TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	begin_time BIGINT, 
	end_time BIGINT, 
	error_code TEXT, 
	message TEXT NOT NULL, 
	percent INTEGER NOT NULL, 
	remaining_seconds FLOAT NOT NULL, 
	estimated_at BIGINT, 
	attempt INTEGER NOT NULL, 
	revision INTEGER NOT NULL, 
	forecasts TEXT NOT NULL, 
	steps TEXT NOT NULL, 
	CONSTRAINT pk_tasks PRIMARY KEY (sequence), 
	CONSTRAINT uq_tasks_id UNIQUE (id)
);
INSERT INTO "tasks" VALUES(1,'54795a9b62ac418b81878a7fe5ecbd3e','331e0924-cd62-4e32-a02c-c34901f2afe5','60382b6ecb764ec497897c6d5795a9f7','create','CreateInstance','SUCCESS','{"spec_code":"redis.cluster.xu1.large.r1.s1.2","engine_version":"7.0"}','{}','3e9b798e0efb4bd6bc4fa89fdadc4aab','admin',1795659774606,1795659774707,1795659775483,NULL,'',100,0.0,1795659775466,0,13,'[{"percent":25,"at":1795659774945,"remaining_seconds":0.6149411764705883,"error":0.09915098209971006},{"percent":50,"at":1795659775152,"remaining_seconds":0.32,"error":-0.014175257731958763},{"percent":75,"at":1795659775462,"remaining_seconds":0.288,"error":0.3440721649484536},{"percent":90,"at":1795659775466,"remaining_seconds":0.0,"error":-0.02190721649484536}]','[{"id":"d29c6d56-d786-5a13-9bdc-eaa5ac37a44e","name":"Pre-check.","sub_steps":[{"id":"05e546bd-aba4-5158-9caf-b60bfccde768","name":"Resource check.","action":"check resources","arguments":{"host_bytes":33554432,"disk_bytes":33554432,"rooms":[]},"work":{"unit":"seconds","total":1.0,"seconds":0.05,"fixed":0.0,"lane":"check"},"done":1.0,"status":"FINISH","begin_time":1795659774749,"end_time":1795659774776,"detail":"{memory_free:22064173056,disk_free:78885978112}","error_code":null}],"status":"FINISH","begin_time":1795659774749,"end_time":1795659774776,"error_code":null},{"id":"a4968c03-cd45-56b2-923d-fda18bc581db","name":"Resource request.","sub_steps":[{"id":"0d87691c-54d6-55cb-9047-79a6fcf8d6e6","name":"Node start. Shard 0, master","action":"start node","arguments":{"node_id":"d24da01de5e3d2fa2359c811403899b052f6a449","founding":true},"work":{"unit":"seconds","total":1.0,"seconds":0.15,"fixed":0.0,"lane":"d24da01de5e3d2fa2359c811403899b052f6a449"},"done":1.0,"status":"FINISH","begin_time":1795659774789,"end_time":1795659774937,"detail":"{node_id:d24da01de5e3d2fa2359c811403899b052f6a449,address:127.0.0.1:11511}","error_code":null},{"id":"cbd9f679-6091-5d2b-ab83-338a113a5456","name":"Node start. Shard 1, master","action":"start node","arguments":{"node_id":"2646b0491f7706cb895b8c15f4c9c8c0215ca17d","founding":true},"work":{"unit":"seconds","total":1.0,"seconds":0.15,"fixed":0.0,"lane":"2646b0491f7706cb895b8c15f4c9c8c0215ca17d"},"done":1.0,"status":"FINISH","begin_time":1795659774789,"end_time":1795659775152,"detail":"{node_id:2646b0491f7706cb895b8c15f4c9c8c0215ca17d,address:127.0.0.1:11513}","error_code":null}],"status":"FINISH","begin_time":1795659774789,"end_time":1795659775152,"error_code":null},{"id":"7f637ff7-3937-511c-9f41-750bdb9bdf1c","name":"Cluster formation.","sub_steps":[{"id":"31845c7c-fc4c-5b51-806c-e0c40142df18","name":"Cluster formation.","action":"form cluster","arguments":{},"work":{"unit":"nodes","total":2,"seconds":0.32,"fixed":0.0,"lane":"cluster"},"done":2,"status":"FINISH","begin_time":1795659775166,"end_time":1795659775466,"detail":"{nodes_ready:2/2}","error_code":null}],"status":"FINISH","begin_time":1795659775166,"end_time":1795659775466,"error_code":null}]');
INSERT INTO "tasks" VALUES(2,'c9a9953e939c4e59bac90416b2780baa','331e0924-cd62-4e32-a02c-c34901f2afe5','60382b6ecb764ec497897c6d5795a9f7','resize','EXTEND','EXECUTING','{"spec_code":"redis.cluster.xu1.large.r1.s1.3","new_capacity":"3"}','{"old_capacity":"2","new_capacity":"3","old_resource_spec_code":"redis.cluster.xu1.large.r1.s1.2","new_resource_spec_code":"redis.cluster.xu1.large.r1.s1.3","old_cache_mode":"cluster","new_cache_mode":"cluster","old_replica_num":1,"new_replica_num":1}','3e9b798e0efb4bd6bc4fa89fdadc4aab','admin',1795659784539,1795659784837,NULL,NULL,'',73,6.38206999304698263664e-01,1795659786523,0,18,'[{"percent":10,"at":1795659785552,"remaining_seconds":1.0350997662474986,"error":null},{"percent":25,"at":1795659786121,"remaining_seconds":1.530330294396739,"error":null},{"percent":50,"at":1795659786398,"remaining_seconds":0.6154957389652124,"error":null}]','[{"id":"b03820e4-5030-50fd-a7b5-aaa193a5d3fa","name":"Pre-check.","sub_steps":[{"id":"7e9c4b71-12ba-5bf1-a5f1-25766a6ca66d","name":"Resource check.","action":"check resources","arguments":{"host_bytes":72726387,"disk_bytes":72726387,"rooms":[["74b0f85ec6b100e63a68f332ad7deba4e071d349",55949171,751619276]]},"work":{"unit":"seconds","total":1.0,"seconds":0.05,"fixed":0.0,"lane":"check"},"done":1.0,"status":"FINISH","begin_time":1795659784895,"end_time":1795659784912,"detail":"{memory_free:21548093440,disk_free:78798131200}","error_code":null},{"id":"a7ab1574-3b41-58aa-b843-c50395399878","name":"Instance status check.","action":"check status","arguments":{"new":["74b0f85ec6b100e63a68f332ad7deba4e071d349"]},"work":{"unit":"seconds","total":1.0,"seconds":0.05,"fixed":0.0,"lane":"check"},"done":1.0,"status":"FINISH","begin_time":1795659784984,"end_time":1795659785007,"detail":"","error_code":null}],"status":"FINISH","begin_time":1795659784895,"end_time":1795659785007,"error_code":null},{"id":"e9b44a22-4a37-5d6b-8172-835370037998","name":"Resource request.","sub_steps":[{"id":"6aefa9fb-8394-5630-8889-6882832e4109","name":"Node start. Shard 2, master","action":"start node","arguments":{"node_id":"74b0f85ec6b100e63a68f332ad7deba4e071d349","founding":false},"work":{"unit":"seconds","total":1.0,"seconds":0.15,"fixed":0.0,"lane":"74b0f85ec6b100e63a68f332ad7deba4e071d349"},"done":1.0,"status":"FINISH","begin_time":1795659785089,"end_time":1795659785233,"detail":"{node_id:74b0f85ec6b100e63a68f332ad7deba4e071d349,address:127.0.0.1:28239}","error_code":null}],"status":"FINISH","begin_time":1795659785089,"end_time":1795659785233,"error_code":null},{"id":"1f74ed77-e1a9-5fd2-8f9e-02bad21d9b38","name":"Cluster join.","sub_steps":[{"id":"fbc400ef-e26c-5632-9995-a99d0dc788ec","name":"Cluster join.","action":"join cluster","arguments":{"node_ids":["74b0f85ec6b100e63a68f332ad7deba4e071d349"]},"work":{"unit":"nodes","total":3,"seconds":0.24,"fixed":0.0,"lane":"join"},"done":3,"status":"FINISH","begin_time":1795659785266,"end_time":1795659785552,"detail":"{nodes_ready:3/3}","error_code":null}],"status":"FINISH","begin_time":1795659785266,"end_time":1795659785552,"error_code":null},{"id":"4a1d9c23-a365-56e0-83a3-419b63a51a7b","name":"Data migration.","sub_steps":[{"id":"3c7eb3b4-914c-585d-9eac-fb18bed82ad2","name":"Slot migration. Slots 5462-8191","action":"move slots","arguments":{"source":"d24da01de5e3d2fa2359c811403899b052f6a449","target":"74b0f85ec6b100e63a68f332ad7deba4e071d349","first":5462,"last":8191,"keys":33320,"bytes_per_key":841.1037379252415,"spared":true},"work":{"unit":"bytes","total":28025576.547669046,"seconds":1.010511530953381,"fixed":0.15,"lane":"d24da01de5e3d2fa2359c811403899b052f6a449"},"done":28025576.547669046,"status":"FINISH","begin_time":1795659785566,"end_time":1795659786523,"detail":"{node_id:d24da01de5e3d2fa2359c811403899b052f6a449,slot_range:[5462 8191],full_migration:finished,inc_migration:finished,keys:33320/33320,bytes:27950526}","error_code":null},{"id":"59863ce5-67df-53c7-ae58-a70bd8839727","name":"Slot migration. Slots 13653-16383","action":"move slots","arguments":{"source":"2646b0491f7706cb895b8c15f4c9c8c0215ca17d","target":"74b0f85ec6b100e63a68f332ad7deba4e071d349","first":13653,"last":16383,"keys":33349,"bytes_per_key":837.3142662853257,"spared":true},"work":{"unit":"bytes","total":27923593.46634933,"seconds":1.0084718693269867,"fixed":0.15,"lane":"2646b0491f7706cb895b8c15f4c9c8c0215ca17d"},"done":11969309.81047481,"status":"EXECUTING","begin_time":1795659785566,"end_time":null,"detail":"{node_id:2646b0491f7706cb895b8c15f4c9c8c0215ca17d,slot_range:[13653 16383],full_migration:in progress,inc_migration:in progress,keys:13947/33349,bytes:12582697}","error_code":null}],"status":"EXECUTING","begin_time":1795659785566,"end_time":null,"error_code":null},{"id":"62172d08-c907-5343-86c7-5cbd2ad41a79","name":"Post-check.","sub_steps":[{"id":"c1275f24-2f34-54bf-bcad-5c5d0fedf49a","name":"Instance status check.","action":"check status","arguments":{"new":[]},"work":{"unit":"seconds","total":1.0,"seconds":0.05,"fixed":0.0,"lane":"check"},"done":0.0,"status":"WAITING","begin_time":null,"end_time":null,"detail":"","error_code":null}],"status":"WAITING","begin_time":null,"end_time":null,"error_code":null}]');
CREATE TABLE tokens (
	digest TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	project_id TEXT, 
	issued_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	CONSTRAINT pk_tokens PRIMARY KEY (digest)
);
CREATE TABLE users (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	password TEXT, 
	enabled BOOLEAN NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_name UNIQUE (name)
);
INSERT INTO "users" VALUES('3e9b798e0efb4bd6bc4fa89fdadc4aab','admin',NULL,1,1795659770745);
CREATE TABLE webhooks (
	id TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	url TEXT NOT NULL, 
	events TEXT NOT NULL, 
	secret TEXT NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_webhooks PRIMARY KEY (id)
);
CREATE TABLE workflow_events (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_events_history (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, function_id, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid)
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_input (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    inputs TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
INSERT INTO "workflow_input" VALUES('54795a9b62ac418b81878a7fe5ecbd3e','gASVPAAAAAAAAAB9lCiMBGFyZ3OUjCA1NDc5NWE5YjYyYWM0MThiODE4NzhhN2ZlNWVjYmQzZZSFlIwGa3dhcmdzlH2UdS4=',1795659774000);
INSERT INTO "workflow_input" VALUES('c9a9953e939c4e59bac90416b2780baa','gASVPAAAAAAAAAB9lCiMBGFyZ3OUjCBjOWE5OTUzZTkzOWM0ZTU5YmFjOTA0MTZiMjc4MGJhYZSFlIwGa3dhcmdzlH2UdS4=',1795659784000);
CREATE TABLE workflow_output (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    output TEXT,
    error TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
INSERT INTO "workflow_output" VALUES('54795a9b62ac418b81878a7fe5ecbd3e','gAROLg==',NULL,1795659775000);
CREATE TABLE workflow_schedules (
    schedule_id TEXT PRIMARY KEY,
    schedule_name TEXT NOT NULL UNIQUE,
    workflow_name TEXT NOT NULL,
    workflow_class_name TEXT,
    schedule TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'ACTIVE',
    context TEXT NOT NULL
, "last_fired_at" TEXT DEFAULT NULL, "automatic_backfill" BOOLEAN NOT NULL DEFAULT FALSE, "cron_timezone" TEXT DEFAULT NULL, "queue_name" TEXT DEFAULT NULL, "application_name" TEXT DEFAULT NULL);
CREATE TABLE workflow_status (
    workflow_uuid TEXT PRIMARY KEY,
    status TEXT,
    name TEXT,
    authenticated_user TEXT,
    assumed_role TEXT,
    authenticated_roles TEXT,
    request TEXT,
    output TEXT,
    error TEXT,
    executor_id TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    application_version TEXT,
    application_id TEXT,
    class_name TEXT DEFAULT NULL,
    config_name TEXT DEFAULT NULL,
    recovery_attempts INTEGER DEFAULT 0,
    queue_name TEXT,
    workflow_timeout_ms INTEGER,
    workflow_deadline_epoch_ms INTEGER,
    inputs TEXT,
    started_at_epoch_ms INTEGER,
    deduplication_id TEXT,
    priority INTEGER NOT NULL DEFAULT 0
, queue_partition_key TEXT, forked_from TEXT, "owner_xid" TEXT DEFAULT NULL, "parent_workflow_id" TEXT DEFAULT NULL, "serialization" TEXT DEFAULT NULL, "delay_until_epoch_ms" BIGINT DEFAULT NULL, "was_forked_from" BOOLEAN NOT NULL DEFAULT FALSE, "rate_limited" BOOLEAN NOT NULL DEFAULT FALSE, "completed_at" BIGINT, "attributes" TEXT, "schedule_name" TEXT, "debounce_deadline_epoch_ms" BIGINT DEFAULT NULL, "is_debounced" BOOLEAN NOT NULL DEFAULT FALSE, "application_name" TEXT DEFAULT NULL, "creator_xid" TEXT DEFAULT NULL);
INSERT INTO "workflow_status" VALUES('54795a9b62ac418b81878a7fe5ecbd3e','SUCCESS','run_task',NULL,NULL,NULL,NULL,NULL,NULL,'local',1795659774000,1795659775000,'1','',NULL,NULL,1,'instances',NULL,NULL,NULL,1795659774000,NULL,0,'331e0924-cd62-4e32-a02c-c34901f2afe5',NULL,NULL,NULL,'py_pickle',NULL,0,0,1795659775000,'null',NULL,NULL,0,'cachewright','42de9441-b7e2-49e1-a329-9ea229a94061');
INSERT INTO "workflow_status" VALUES('c9a9953e939c4e59bac90416b2780baa','PENDING','run_task',NULL,NULL,NULL,NULL,NULL,NULL,'local',1795659784000,1795659784000,'1','',NULL,NULL,1,'instances',NULL,NULL,NULL,1795659784000,NULL,0,'331e0924-cd62-4e32-a02c-c34901f2afe5',NULL,'9f0fa958-9a60-4752-b786-7bfcf7db4ce2',NULL,'py_pickle',NULL,0,0,NULL,'null',NULL,NULL,0,'cachewright','98aeeaa0-5496-4809-86a0-752b134fa0e5');
CREATE INDEX ix_instances_project_id_created_at ON instances (project_id, created_at);
CREATE INDEX ix_nodes_instance_id ON nodes (instance_id);
CREATE INDEX ix_tasks_instance_id_created_at_sequence ON tasks (instance_id, created_at, sequence);
CREATE INDEX ix_tasks_project_id_created_at_sequence ON tasks (project_id, created_at, sequence);
CREATE INDEX ix_tasks_status_end_time ON tasks (status, end_time);
CREATE INDEX ix_tokens_user_id ON tokens (user_id);
CREATE INDEX ix_tokens_expires_at ON tokens (expires_at);
CREATE INDEX ix_audit_at ON audit (at);
CREATE INDEX ix_audit_project_id_at_sequence ON audit (project_id, at, sequence);
CREATE INDEX ix_access_keys_user_id ON access_keys (user_id);
CREATE INDEX ix_webhooks_project_id ON webhooks (project_id);
CREATE INDEX ix_deliveries_webhook_id_sequence ON deliveries (webhook_id, sequence);
CREATE INDEX ix_deliveries_queued ON deliveries (queued) WHERE NOT queued;
CREATE INDEX ix_deliveries_created_at ON deliveries (created_at);
CREATE INDEX workflow_status_created_at_index ON workflow_status (created_at);
CREATE INDEX idx_workflow_topic ON notifications (destination_uuid, topic);
CREATE INDEX "idx_workflow_status_delayed" ON "workflow_status" ("delay_until_epoch_ms") WHERE status = 'DELAYED';
CREATE INDEX "idx_workflow_status_forked_from" ON "workflow_status" ("forked_from") WHERE "forked_from" IS NOT NULL;
CREATE INDEX "idx_workflow_status_parent_workflow_id" ON "workflow_status" ("parent_workflow_id") WHERE "parent_workflow_id" IS NOT NULL;
CREATE UNIQUE INDEX "uq_workflow_status_dedup_id" ON "workflow_status" ("queue_name", "deduplication_id") WHERE "deduplication_id" IS NOT NULL;
CREATE INDEX "idx_workflow_status_pending" ON "workflow_status" ("created_at") WHERE "status" = 'PENDING';
CREATE INDEX "idx_workflow_status_failed" ON "workflow_status" ("status", "created_at") WHERE "status" IN ('ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED');
CREATE INDEX "idx_workflow_status_rate_limited" ON "workflow_status" ("queue_name", "started_at_epoch_ms") WHERE "rate_limited" = TRUE;
CREATE INDEX "idx_workflow_status_completed_at" ON "workflow_status" ("completed_at") WHERE "completed_at" IS NOT NULL;
CREATE INDEX "idx_workflow_status_started_at" ON "workflow_status" ("started_at_epoch_ms") WHERE "started_at_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_workflow_status_schedule_name" ON "workflow_status" ("schedule_name") WHERE "schedule_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_owner_version"
    ON application_versions ("application_name", "version_name")
    WHERE "application_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_unclaimed_version"
    ON application_versions ("version_name")
    WHERE "application_name" IS NULL;
CREATE INDEX idx_workflow_input_retention
    ON workflow_input (retention_timestamp);
CREATE INDEX idx_workflow_output_retention
    ON workflow_output (retention_timestamp);
CREATE INDEX idx_operation_outputs_retention
    ON operation_outputs (retention_timestamp);
CREATE INDEX "idx_workflow_status_in_flight_v2" ON "workflow_status" ("queue_name", "status", "priority", "created_at", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING');
CREATE INDEX "idx_workflow_status_partition_dequeue_v3" ON "workflow_status" ("queue_name", "status", "queue_partition_key", "priority", "created_at", "workflow_uuid", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING') AND "queue_partition_key" IS NOT NULL;
CREATE INDEX "idx_operation_outputs_completed_at_function_name_v2" ON "operation_outputs" ("completed_at_epoch_ms", "function_name", "application_name");
CREATE INDEX "idx_workflow_status_deadline" ON "workflow_status" ("workflow_deadline_epoch_ms") WHERE "status" IN ('ENQUEUED', 'PENDING', 'DELAYED') AND "workflow_deadline_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_application_versions_timestamp" ON "application_versions" ("version_timestamp" DESC);
CREATE INDEX "idx_application_versions_owner_timestamp" ON "application_versions" ("application_name", "version_timestamp" DESC);
COMMIT;
