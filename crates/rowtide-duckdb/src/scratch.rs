//! scratch
#![allow(clippy::all, missing_docs, clippy::unwrap_used, clippy::print_stdout)]
use crate::ffi::*;
use std::sync::Arc;
use std::time::Instant;
use arrow_array::*;
use arrow_schema::*;
pub fn batch(start:i64, n:usize)->RecordBatch{
    let ids:Vec<i64>=(start..start+n as i64).collect();
    let f=|s:&str,t|Field::new(s,t,true);
    let schema=Schema::new(vec![f("id",DataType::Int64),f("a",DataType::Int32),f("f",DataType::Float64),f("b",DataType::Boolean),f("d",DataType::Date32),f("ts",DataType::Timestamp(TimeUnit::Microsecond,Some("UTC".into()))),f("n",DataType::Decimal128(18,4)),f("s1",DataType::Utf8),f("s2",DataType::Utf8),f("s3",DataType::Utf8)]);
    RecordBatch::try_new(Arc::new(schema),vec![
        Arc::new(Int64Array::from(ids.clone())),
        Arc::new(Int32Array::from_iter(ids.iter().map(|i|(i%1000!=0).then_some(*i as i32)))),
        Arc::new(Float64Array::from_iter(ids.iter().map(|i|*i as f64*0.5))),
        Arc::new(BooleanArray::from_iter(ids.iter().map(|i|Some(i%3==0)))),
        Arc::new(Date32Array::from_iter(ids.iter().map(|i|Some((i%20000) as i32)))),
        Arc::new(TimestampMicrosecondArray::from_iter(ids.iter().map(|i|Some(i*1_000_000))).with_timezone("UTC")),
        Arc::new(Decimal128Array::from_iter(ids.iter().map(|i|*i as i128*77)).with_precision_and_scale(18,4).unwrap()),
        Arc::new(StringArray::from_iter_values(ids.iter().map(|i|format!("n{i}")))),
        Arc::new(StringArray::from_iter_values(ids.iter().map(|i|format!("customer number {i} of the shop")))),
        Arc::new(StringArray::from_iter_values(ids.iter().map(|i|format!("{:0>100}",i)))),
    ]).unwrap()
}
pub const DDL:&str="CREATE OR REPLACE TABLE t(id BIGINT,a INTEGER,f DOUBLE,b BOOLEAN,d DATE,ts TIMESTAMPTZ,n DECIMAL(18,4),s1 VARCHAR,s2 VARCHAR,s3 VARCHAR)";
fn t<T>(name:&str,f:impl FnOnce()->T)->T{let s=Instant::now();let r=f();println!("{name}: {:.2} ms",s.elapsed().as_secs_f64()*1e3);r}
pub fn main(){
    let dir=std::env::args().nth(1).unwrap();
    let path=std::path::PathBuf::from(dir);
    let _=std::fs::remove_file(&path); 
    let db=Arc::new(Database::open(&path,&[("memory_limit","1GiB"),("threads","2"),("preserve_insertion_order","false")]).unwrap());
    let c=Connection::open(&db).unwrap();
    let x=|sql:&str|match c.execute(sql){Ok(n)=>println!("ok {n} {sql}"),Err(e)=>println!("ERR {sql} -> {:?} {}",e.class,e.text)};
    for (i,s) in ["CREATE TABLE x(id INT, v VARCHAR)","INSERT INTO x VALUES (1,'a')",
      "BEGIN","INSERT INTO x VALUES (2,'b')","ALTER TABLE x ADD COLUMN w INT","INSERT INTO x VALUES (3,'c',3)","DELETE FROM x WHERE id=1","COMMIT",
      "BEGIN","DELETE FROM x WHERE id=2","ALTER TABLE x DROP COLUMN w","INSERT INTO x VALUES (5,'z')","ALTER TABLE x ADD COLUMN q INT","UPDATE x SET q=5","COMMIT",
      "BEGIN","CREATE TABLE y AS FROM x","ALTER TABLE y RENAME TO y2","INSERT INTO y2 VALUES (9,'n',NULL)","COMMIT","FROM x","FROM y2",
      "BEGIN","DROP TABLE x","ALTER TABLE y2 RENAME TO x","INSERT INTO x VALUES (10,'m',NULL)","DELETE FROM x WHERE id=9","COMMIT","CHECKPOINT",
      "BEGIN","INSERT INTO x VALUES (11,'m',NULL)","CREATE TABLE x_new AS FROM x","DROP TABLE x","ALTER TABLE x_new RENAME TO x","INSERT INTO x VALUES (12,'m',NULL)","COMMIT",
      "BEGIN","UPDATE x SET v='q'","UPDATE x SET v='r'","ALTER TABLE x ADD COLUMN zz INT","UPDATE x SET zz=7","DELETE FROM x WHERE id=3","COMMIT",
      "BEGIN","INSERT INTO x VALUES (21,'m',NULL,1)","DELETE FROM x","ALTER TABLE x DROP COLUMN v","INSERT INTO x VALUES (22,NULL,1)","COMMIT",
      ].iter().enumerate(){ let _=i; x(s); }
    for r in c.query("SELECT id::BIGINT, to_json(x)::VARCHAR FROM x",&[]).unwrap(){println!("{r:?}");}
    // append speed
    let batches:Vec<_>=(0..20).map(|i|batch(i*50_000,50_000)).collect();
    x(DDL);
    t("append 1M in one tx",||{ c.execute("BEGIN").unwrap(); let mut a=Appender::table(&c,["w","main","t"].map(|s|if s=="w"{ Box::leak(path.file_stem().unwrap().to_str().unwrap().to_owned().into_boxed_str()) }else{s}),&batches[0].schema()).unwrap(); for b in &batches{a.append(b).unwrap();} a.flush().unwrap(); drop(a); c.execute("COMMIT").unwrap();});
    t("checkpoint",||c.execute("CHECKPOINT").unwrap());
    println!("{:?}",c.query("SELECT count(*)::BIGINT, sum(id)::BIGINT, sum(length(s1))::BIGINT, count(a), sum(a)::BIGINT, count(*) FILTER (b), min(ts)::VARCHAR, max(d)::VARCHAR, sum(n)::VARCHAR FROM t",&[]).unwrap());
    let cat=path.file_stem().unwrap().to_str().unwrap().to_owned();
    let key=|b:&RecordBatch|b.project(&[0]).unwrap();
    c.execute("CREATE TEMP TABLE k(id BIGINT)").unwrap();
    c.execute("CREATE TABLE IF NOT EXISTS ctl(p VARCHAR,v VARCHAR); INSERT INTO ctl VALUES ('a','b')").unwrap();
    c.execute("CHECKPOINT").unwrap();
    for n in [1usize,10,500,100_000]{
        let iters=if n>10000{3}else{200};
        let mut del=c.prepare("DELETE FROM t USING temp.k WHERE t.id=k.id").unwrap();
        let mut clear=c.prepare("DELETE FROM temp.k").unwrap();
        let mut upd=c.prepare("UPDATE ctl SET v=? WHERE p='a'").unwrap();
        let mut lat=[0f64;5];
        t(&format!("A temp+delete+append {n} x{iters}"),||for i in 0..iters{
            let b=batch((i*7919*n as i64)%900_000,n);
            let s=Instant::now(); c.execute("BEGIN").unwrap();
            {let mut a=Appender::table(&c,["temp","main","k"],&key(&b).schema()).unwrap();a.append(&key(&b)).unwrap();a.flush().unwrap();}
            lat[0]+=s.elapsed().as_secs_f64()*1e3;let s=Instant::now();
            del.execute(&[]).unwrap();
            lat[1]+=s.elapsed().as_secs_f64()*1e3;let s=Instant::now();
            {let mut a=Appender::table(&c,[&cat,"main","t"],&b.schema()).unwrap();a.append(&b).unwrap();a.flush().unwrap();}
            lat[2]+=s.elapsed().as_secs_f64()*1e3;let s=Instant::now();
            clear.execute(&[]).unwrap();
            upd.execute(&[Value::Text("x")]).unwrap();
            lat[3]+=s.elapsed().as_secs_f64()*1e3;let s=Instant::now();
            c.execute("COMMIT").unwrap();
            lat[4]+=s.elapsed().as_secs_f64()*1e3;
        });
        println!("   stage {:.2} delete {:.2} append {:.2} clear+ctl {:.2} commit {:.2}",lat[0]/iters as f64,lat[1]/iters as f64,lat[2]/iters as f64,lat[3]/iters as f64,lat[4]/iters as f64);
    }

    use libduckdb_sys as sys;
    let types=[sys::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT,sys::DUCKDB_TYPE_DUCKDB_TYPE_INTEGER,sys::DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE,sys::DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN,sys::DUCKDB_TYPE_DUCKDB_TYPE_DATE,sys::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_TZ,sys::DUCKDB_TYPE_DUCKDB_TYPE_DECIMAL,sys::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR,sys::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR,sys::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR];
    c.execute("CHECKPOINT").unwrap();
    for shape in ["A2 live appenders","B query-appender delete","C merge query-appender"]{ for n in [1usize,10,500,100_000]{
        let iters=if n>10000{3}else{200};
        let sch=batch(0,1).schema(); let ks=key(&batch(0,1)).schema();
        let mut upd=c.prepare("UPDATE ctl SET v=? WHERE p='a'").unwrap();
        let mut del=c.prepare("DELETE FROM t USING temp.k WHERE t.id=k.id").unwrap();
        let mut ka=match &shape[..1]{"A"=>Appender::table(&c,["temp","main","k"],&ks).unwrap(),"B"=>Appender::query(&c,"DELETE FROM t USING appended_data k WHERE t.id=k.col1",&types[..1],&ks).unwrap(),
          _=>Appender::query(&c,"MERGE INTO t USING appended_data k ON t.id=k.col1 WHEN MATCHED THEN UPDATE SET a=col2,f=col3,b=col4,d=col5,ts=col6,n=col7,s1=col8,s2=col9,s3=col10 WHEN NOT MATCHED THEN INSERT VALUES(col1,col2,col3,col4,col5,col6,col7,col8,col9,col10)",&types,&sch).unwrap()};
        let mut ta=Appender::table(&c,[&cat,"main","t"],&sch).unwrap();
        let mut lat=[0f64;5];
        t(&format!("{shape} {n} x{iters}"),||for i in 0..iters{
            let b=batch((i*7919*n as i64)%900_000,n);
            let s=Instant::now(); c.execute("BEGIN").unwrap();
            match &shape[..1]{"C"=>{ka.append(&b).unwrap();ka.flush().unwrap();}
              x=>{ka.append(&key(&b)).unwrap();ka.flush().unwrap(); if x=="A"{assert_eq!(del.execute(&[]).unwrap(),n as u64);c.execute("TRUNCATE temp.k").unwrap();}
                lat[1]+=s.elapsed().as_secs_f64()*1e3;let s=Instant::now();
                ta.append(&b).unwrap();ta.flush().unwrap();lat[2]+=s.elapsed().as_secs_f64()*1e3;}}
            lat[0]+=s.elapsed().as_secs_f64()*1e3;let s=Instant::now();
            upd.execute(&[Value::Text("x")]).unwrap();
            lat[3]+=s.elapsed().as_secs_f64()*1e3;let s=Instant::now();
            c.execute("COMMIT").unwrap();
            lat[4]+=s.elapsed().as_secs_f64()*1e3;
        });
        println!("   all {:.2} (delete {:.2} append {:.2}) ctl {:.2} commit {:.2}",lat[0]/iters as f64,lat[1]/iters as f64,lat[2]/iters as f64,lat[3]/iters as f64,lat[4]/iters as f64);
    }}
    for s in ["CREATE TABLE z(id INT, v VARCHAR)","INSERT INTO z VALUES (1,'a'),(2,'b')",
      "BEGIN","ALTER TABLE z ADD COLUMN q INT","UPDATE z SET q=5","INSERT INTO z VALUES (3,'c',6)","DELETE FROM z WHERE id=1","COMMIT","FROM z",
      "BEGIN","ALTER TABLE z DROP COLUMN q","INSERT INTO z VALUES (4,'d')","ALTER TABLE z ADD COLUMN r INT","COMMIT",
      "BEGIN","ALTER TABLE z DROP COLUMN r","ALTER TABLE z ADD COLUMN r2 INT","UPDATE z SET r2=1","COMMIT",
      "BEGIN","INSERT INTO z VALUES (7,'d',1)","ALTER TABLE z ADD COLUMN s INT","UPDATE z SET s=1","COMMIT",
      "BEGIN","DELETE FROM z WHERE id=2","CREATE TABLE z_n AS FROM z","DROP TABLE z","ALTER TABLE z_n RENAME TO z","DELETE FROM z WHERE id=3","CREATE TABLE z_n AS SELECT *,5 AS qq FROM z","DROP TABLE z","ALTER TABLE z_n RENAME TO z","UPDATE z SET qq=6","COMMIT","FROM z","CHECKPOINT","FORCE CHECKPOINT"]{x(s);}
    for r in c.query("SELECT id::BIGINT, to_json(z)::VARCHAR FROM z",&[]).unwrap(){println!("{r:?}");}
    println!("{:?}",c.query("SELECT count(*)::BIGINT, count(DISTINCT id)::BIGINT FROM t",&[]).unwrap());
}
