BEGIN TRANSACTION;
CREATE TABLE access_keys (
	access_key TEXT NOT NULL, 
	secret_key TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	user_name TEXT NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_access_keys PRIMARY KEY (access_key)
);
INSERT INTO "access_keys" VALUES('6NCN0UGQ9JMEW1TJ5CA5','hu5XCVJvZWRuBpjAaLxSBCvqILOA304ECZYi0KLa','1aa9126a9b0543a3a862e3ce728476b7','8aee78da8c3c4735bc7dea57eeda06b9','admin',1,1795451210272);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE application_versions (
    version_id TEXT NOT NULL PRIMARY KEY,
    version_name TEXT NOT NULL UNIQUE,
    version_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL);
INSERT INTO "application_versions" VALUES('e4e1e305-427c-44ba-b9ed-4fcb083af0bd','1',1795451210000,1795451210000,'cachewright');
CREATE TABLE controls (
	task_id TEXT NOT NULL, 
	wish TEXT NOT NULL, 
	parallel INTEGER, 
	latency_ceiling_ms FLOAT, 
	CONSTRAINT pk_controls PRIMARY KEY (task_id)
);
CREATE TABLE dbos_migrations (version INTEGER NOT NULL PRIMARY KEY);
INSERT INTO "dbos_migrations" VALUES(125);
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
INSERT INTO "instances" VALUES('4d269bf3-1325-4ae6-88fd-c9114a78e466','1aa9126a9b0543a3a862e3ce728476b7','cache','EXTENDING','7.0','redis.cluster.xu1.large.r1.s1.2',16585,'Test-password-1','{"vpc_id":"local","subnet_id":"local","az_codes":["local"]}','8aee78da8c3c4735bc7dea57eeda06b9','admin',1795451210419,1795451217699,1795451213531,NULL);
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
INSERT INTO "nodes" VALUES('952bf9a4e5e1c6fcd364df80e14251cd165857c2','4d269bf3-1325-4ae6-88fd-c9114a78e466',0,'master','127.0.0.1',16585,16586,1073741824,1,1795451210419);
INSERT INTO "nodes" VALUES('c19693eece3608eb55991e759619403665e04a86','4d269bf3-1325-4ae6-88fd-c9114a78e466',1,'master','127.0.0.1',16587,16588,1073741824,1,1795451210419);
INSERT INTO "nodes" VALUES('6479a7d80f041f3991e5928dd9e4d8374c5fa115','4d269bf3-1325-4ae6-88fd-c9114a78e466',2,'master','127.0.0.1',22669,22670,1073741824,1,1795451217757);
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
INSERT INTO "operation_outputs" VALUES('ce3a3298c5714e9a9439c5e7b52b6b59',1,'plan','gAROLg==',NULL,NULL,1795451211347,1795451211369,'py_pickle','cachewright',1795451211000);
INSERT INTO "operation_outputs" VALUES('ce3a3298c5714e9a9439c5e7b52b6b59',2,'check resources:5036ce43-3afa-5d28-a71f-f775b7c56f87','gAROLg==',NULL,NULL,1795451211376,1795451211399,'py_pickle','cachewright',1795451211000);
INSERT INTO "operation_outputs" VALUES('ce3a3298c5714e9a9439c5e7b52b6b59',3,'start node:25983626-aa55-5786-aaab-dfc5d408c4be','gAROLg==',NULL,NULL,1795451211408,1795451211524,'py_pickle','cachewright',1795451211000);
INSERT INTO "operation_outputs" VALUES('ce3a3298c5714e9a9439c5e7b52b6b59',4,'start node:35270ccb-af56-5192-b522-5434c068b0e4','gAROLg==',NULL,NULL,1795451211409,1795451211541,'py_pickle','cachewright',1795451211000);
INSERT INTO "operation_outputs" VALUES('ce3a3298c5714e9a9439c5e7b52b6b59',5,'form cluster:758846d7-02ab-5fd8-8477-24a046037ae4','gAROLg==',NULL,NULL,1795451211545,1795451213523,'py_pickle','cachewright',1795451213000);
INSERT INTO "operation_outputs" VALUES('ce3a3298c5714e9a9439c5e7b52b6b59',6,'end','gAROLg==',NULL,NULL,1795451213526,1795451213533,'py_pickle','cachewright',1795451213000);
INSERT INTO "operation_outputs" VALUES('a94fa27775724515b18338f94d134466',1,'plan','gAROLg==',NULL,NULL,1795451217731,1795451217827,'py_pickle','cachewright',1795451217000);
INSERT INTO "operation_outputs" VALUES('a94fa27775724515b18338f94d134466',2,'check resources:5a6eb6ed-07c1-5b8b-98a4-6df127cba1f1','gAROLg==',NULL,NULL,1795451217832,1795451217842,'py_pickle','cachewright',1795451217000);
INSERT INTO "operation_outputs" VALUES('a94fa27775724515b18338f94d134466',3,'check status:bc21ed06-d4c7-58e8-aa96-f432e31c09d5','gAROLg==',NULL,NULL,1795451217845,1795451217876,'py_pickle','cachewright',1795451217000);
INSERT INTO "operation_outputs" VALUES('a94fa27775724515b18338f94d134466',4,'start node:4fc4a26a-4064-5467-a1a3-3b40458a5e0f','gAROLg==',NULL,NULL,1795451217879,1795451217984,'py_pickle','cachewright',1795451217000);
INSERT INTO "operation_outputs" VALUES('a94fa27775724515b18338f94d134466',5,'join cluster:4650775d-8ebe-5fec-89f3-22b4de440964','gAROLg==',NULL,NULL,1795451217995,1795451219993,'py_pickle','cachewright',1795451219000);
INSERT INTO "operation_outputs" VALUES('a94fa27775724515b18338f94d134466',6,'move slots:74034d77-00e2-54dc-b17a-f1fcc4cfdb1d','gAROLg==',NULL,NULL,1795451219996,1795451220587,'py_pickle','cachewright',1795451220000);
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
INSERT INTO "queues" VALUES('DEB3BD3FFA3D7601265638614EE977C0','instances',NULL,NULL,NULL,NULL,1,1,0.05,1795451210000,1795451210255,'cachewright',1,NULL,NULL,NULL);
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
INSERT INTO "tasks" VALUES(1,'ce3a3298c5714e9a9439c5e7b52b6b59','4d269bf3-1325-4ae6-88fd-c9114a78e466','1aa9126a9b0543a3a862e3ce728476b7','create','CreateInstance','SUCCESS','{"spec_code":"redis.cluster.xu1.large.r1.s1.2","engine_version":"7.0"}','{}','8aee78da8c3c4735bc7dea57eeda06b9','admin',1795451210423,1795451211363,1795451213528,NULL,'',100,0.0,1795451213519,0,18,'[{"percent":10,"at":1795451211529,"remaining_seconds":2.1,"error":0.046651270207852195},{"percent":90,"at":1795451213519,"remaining_seconds":0.0,"error":-0.004157043879907622}]','[{"id":"689c42f8-4efe-5091-8dfa-1e6ca9737021","name":"Pre-check.","sub_steps":[{"id":"5036ce43-3afa-5d28-a71f-f775b7c56f87","name":"Resource check.","action":"check resources","arguments":{"host_bytes":33554432,"disk_bytes":33554432,"rooms":[]},"work":{"unit":"seconds","total":1.0,"seconds":0.05,"fixed":0.0,"lane":"check"},"done":1.0,"status":"FINISH","begin_time":1795451211378,"end_time":1795451211383,"detail":"{memory_free:24771387392,disk_free:80183959552}","error_code":null}],"status":"FINISH","begin_time":1795451211378,"end_time":1795451211383,"error_code":null},{"id":"9177888e-b5a7-51a2-9d24-2176d3ea0ae9","name":"Resource request.","sub_steps":[{"id":"25983626-aa55-5786-aaab-dfc5d408c4be","name":"Node start. Shard 0, master","action":"start node","arguments":{"node_id":"952bf9a4e5e1c6fcd364df80e14251cd165857c2","founding":true},"work":{"unit":"seconds","total":1.0,"seconds":0.15,"fixed":0.0,"lane":"952bf9a4e5e1c6fcd364df80e14251cd165857c2"},"done":1.0,"status":"FINISH","begin_time":1795451211413,"end_time":1795451211518,"detail":"{node_id:952bf9a4e5e1c6fcd364df80e14251cd165857c2,address:127.0.0.1:16585}","error_code":null},{"id":"35270ccb-af56-5192-b522-5434c068b0e4","name":"Node start. Shard 1, master","action":"start node","arguments":{"node_id":"c19693eece3608eb55991e759619403665e04a86","founding":true},"work":{"unit":"seconds","total":1.0,"seconds":0.15,"fixed":0.0,"lane":"c19693eece3608eb55991e759619403665e04a86"},"done":1.0,"status":"FINISH","begin_time":1795451211415,"end_time":1795451211529,"detail":"{node_id:c19693eece3608eb55991e759619403665e04a86,address:127.0.0.1:16587}","error_code":null}],"status":"FINISH","begin_time":1795451211413,"end_time":1795451211529,"error_code":null},{"id":"3101cfa6-022f-59ba-9030-f94bf80df2ab","name":"Cluster formation.","sub_steps":[{"id":"758846d7-02ab-5fd8-8477-24a046037ae4","name":"Cluster formation.","action":"form cluster","arguments":{},"work":{"unit":"nodes","total":2,"seconds":2.1,"fixed":2.0,"lane":"cluster"},"done":2,"status":"FINISH","begin_time":1795451211548,"end_time":1795451213519,"detail":"{nodes_ready:2/2}","error_code":null}],"status":"FINISH","begin_time":1795451211548,"end_time":1795451213519,"error_code":null}]');
INSERT INTO "tasks" VALUES(2,'a94fa27775724515b18338f94d134466','4d269bf3-1325-4ae6-88fd-c9114a78e466','1aa9126a9b0543a3a862e3ce728476b7','resize','EXTEND','EXECUTING','{"spec_code":"redis.cluster.xu1.large.r1.s1.3","new_capacity":"3"}','{"old_capacity":"2","new_capacity":"3","old_resource_spec_code":"redis.cluster.xu1.large.r1.s1.2","new_resource_spec_code":"redis.cluster.xu1.large.r1.s1.3","old_cache_mode":"cluster","new_cache_mode":"cluster","old_replica_num":1,"new_replica_num":1}','8aee78da8c3c4735bc7dea57eeda06b9','admin',1795451217699,1795451217821,NULL,NULL,'',87,6.35333101963973106984e-02,1795451220572,0,22,'[{"percent":10,"at":1795451218237,"remaining_seconds":2.6972544234116635,"error":null},{"percent":50,"at":1795451219988,"remaining_seconds":0.6305877567449966,"error":null},{"percent":75,"at":1795451220572,"remaining_seconds":0.06353331019639731,"error":null}]','[{"id":"3e2c8d0f-0988-5848-a33a-ee7b9c1178e6","name":"Pre-check.","sub_steps":[{"id":"5a6eb6ed-07c1-5b8b-98a4-6df127cba1f1","name":"Resource check.","action":"check resources","arguments":{"host_bytes":29171426,"disk_bytes":29171426,"rooms":[["6479a7d80f041f3991e5928dd9e4d8374c5fa115",12394210,751619276]]},"work":{"unit":"seconds","total":1.0,"seconds":0.05,"fixed":0.0,"lane":"check"},"done":1.0,"status":"FINISH","begin_time":1795451217835,"end_time":1795451217838,"detail":"{memory_free:24704102400,disk_free:80147836928}","error_code":null},{"id":"bc21ed06-d4c7-58e8-aa96-f432e31c09d5","name":"Instance status check.","action":"check status","arguments":{"new":["6479a7d80f041f3991e5928dd9e4d8374c5fa115"]},"work":{"unit":"seconds","total":1.0,"seconds":0.05,"fixed":0.0,"lane":"check"},"done":1.0,"status":"FINISH","begin_time":1795451217852,"end_time":1795451217872,"detail":"","error_code":null}],"status":"FINISH","begin_time":1795451217835,"end_time":1795451217872,"error_code":null},{"id":"5eb4255b-8502-574b-8085-d22789fe0275","name":"Resource request.","sub_steps":[{"id":"4fc4a26a-4064-5467-a1a3-3b40458a5e0f","name":"Node start. Shard 2, master","action":"start node","arguments":{"node_id":"6479a7d80f041f3991e5928dd9e4d8374c5fa115","founding":false},"work":{"unit":"seconds","total":1.0,"seconds":0.15,"fixed":0.0,"lane":"6479a7d80f041f3991e5928dd9e4d8374c5fa115"},"done":1.0,"status":"FINISH","begin_time":1795451217881,"end_time":1795451217978,"detail":"{node_id:6479a7d80f041f3991e5928dd9e4d8374c5fa115,address:127.0.0.1:22669}","error_code":null}],"status":"FINISH","begin_time":1795451217881,"end_time":1795451217978,"error_code":null},{"id":"d986f8c3-d80b-55fb-8e35-c936e79341b2","name":"Cluster join.","sub_steps":[{"id":"4650775d-8ebe-5fec-89f3-22b4de440964","name":"Cluster join.","action":"join cluster","arguments":{"node_ids":["6479a7d80f041f3991e5928dd9e4d8374c5fa115"]},"work":{"unit":"nodes","total":3,"seconds":2.2,"fixed":2.0,"lane":"join"},"done":3,"status":"FINISH","begin_time":1795451217999,"end_time":1795451219988,"detail":"{nodes_ready:3/3}","error_code":null}],"status":"FINISH","begin_time":1795451217999,"end_time":1795451219988,"error_code":null},{"id":"ddd77dbb-bbc2-5ec2-a773-f02d7ad0599c","name":"Data migration.","sub_steps":[{"id":"74034d77-00e2-54dc-b17a-f1fcc4cfdb1d","name":"Slot migration. Slots 5462-8191","action":"move slots","arguments":{"source":"952bf9a4e5e1c6fcd364df80e14251cd165857c2","target":"6479a7d80f041f3991e5928dd9e4d8374c5fa115","first":5462,"last":8191,"keys":25001,"bytes_per_key":250.5776379296552},"work":{"unit":"bytes","total":6264691.5258793095,"seconds":0.6088230508626437,"fixed":0.4,"lane":"952bf9a4e5e1c6fcd364df80e14251cd165857c2"},"done":6264691.5258793095,"status":"FINISH","begin_time":1795451220005,"end_time":1795451220572,"detail":"{node_id:952bf9a4e5e1c6fcd364df80e14251cd165857c2,slot_range:[5462 8191],full_migration:finished,inc_migration:finished,keys:25001/25001,bytes:5978097}","error_code":null},{"id":"12dab11d-c04a-5133-8c7a-107e70601ea3","name":"Slot migration. Slots 13653-16383","action":"move slots","arguments":{"source":"c19693eece3608eb55991e759619403665e04a86","target":"6479a7d80f041f3991e5928dd9e4d8374c5fa115","first":13653,"last":16383,"keys":25018,"bytes_per_key":245.00429344782526},"work":{"unit":"bytes","total":6129517.413477693,"seconds":0.604317247115923,"fixed":0.4,"lane":"c19693eece3608eb55991e759619403665e04a86"},"done":6129517.413477693,"status":"EXECUTING","begin_time":1795451220011,"end_time":null,"detail":"{node_id:c19693eece3608eb55991e759619403665e04a86,slot_range:[13653 16383],full_migration:finished,inc_migration:in progress,keys:25018/25018,bytes:5982076}","error_code":null}],"status":"EXECUTING","begin_time":1795451220005,"end_time":null,"error_code":null},{"id":"9bb5bc64-67a8-54f1-ad02-07e17232f2ad","name":"Post-check.","sub_steps":[{"id":"e5a53dba-c94d-5f1c-a984-cfff1d79224e","name":"Instance status check.","action":"check status","arguments":{"new":[]},"work":{"unit":"seconds","total":1.0,"seconds":0.05,"fixed":0.0,"lane":"check"},"done":0.0,"status":"WAITING","begin_time":null,"end_time":null,"detail":"","error_code":null}],"status":"WAITING","begin_time":null,"end_time":null,"error_code":null}]');
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
INSERT INTO "workflow_input" VALUES('ce3a3298c5714e9a9439c5e7b52b6b59','gASVPAAAAAAAAAB9lCiMBGFyZ3OUjCBjZTNhMzI5OGM1NzE0ZTlhOTQzOWM1ZTdiNTJiNmI1OZSFlIwGa3dhcmdzlH2UdS4=',1795451210000);
INSERT INTO "workflow_input" VALUES('a94fa27775724515b18338f94d134466','gASVPAAAAAAAAAB9lCiMBGFyZ3OUjCBhOTRmYTI3Nzc1NzI0NTE1YjE4MzM4Zjk0ZDEzNDQ2NpSFlIwGa3dhcmdzlH2UdS4=',1795451217000);
CREATE TABLE workflow_output (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    output TEXT,
    error TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
INSERT INTO "workflow_output" VALUES('ce3a3298c5714e9a9439c5e7b52b6b59','gAROLg==',NULL,1795451213000);
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
INSERT INTO "workflow_status" VALUES('ce3a3298c5714e9a9439c5e7b52b6b59','SUCCESS','run_task',NULL,NULL,NULL,NULL,NULL,NULL,'local',1795451210000,1795451213000,'1','',NULL,NULL,1,'instances',NULL,NULL,NULL,1795451211000,NULL,0,'4d269bf3-1325-4ae6-88fd-c9114a78e466',NULL,NULL,NULL,'py_pickle',NULL,0,0,1795451213000,'null',NULL,NULL,0,'cachewright','72cb58d5-70ec-443f-a249-a83ac27dbfe4');
INSERT INTO "workflow_status" VALUES('a94fa27775724515b18338f94d134466','PENDING','run_task',NULL,NULL,NULL,NULL,NULL,NULL,'local',1795451217000,1795451217000,'1','',NULL,NULL,1,'instances',NULL,NULL,NULL,1795451217000,NULL,0,'4d269bf3-1325-4ae6-88fd-c9114a78e466',NULL,'f97959d7-d391-463d-b066-4c3c4fbcafe2',NULL,'py_pickle',NULL,0,0,NULL,'null',NULL,NULL,0,'cachewright','1ab41ccc-8e0a-41a9-8202-2de5817aa209');
CREATE INDEX ix_instances_project_id_created_at ON instances (project_id, created_at);
CREATE INDEX ix_nodes_instance_id ON nodes (instance_id);
CREATE INDEX ix_tasks_instance_id_sequence ON tasks (instance_id, sequence);
CREATE INDEX ix_tasks_status ON tasks (status);
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