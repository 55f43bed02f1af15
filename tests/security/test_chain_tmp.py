import base64, json, time
from redis import Redis
def test_x(house, start, broker):
    w = start("--cpus","1")
    with Redis(unix_socket_path=broker.removeprefix("redis+socket://"), socket_timeout=30) as redis:
        embed={"callbacks":None,"errbacks":None,"chain":[{"a":1}],"chord":None}
        m={"headers":{"id":"x1","task":"mlq.predict","lang":"py","retries":0,"timelimit":[None,None]},"properties":{"correlation_id":"x1","delivery_mode":2,"priority":0,"body_encoding":"base64","delivery_info":{"exchange":"","routing_key":"celery"},"delivery_tag":"t"},"content-type":"application/json","content-encoding":"utf-8","body":base64.b64encode(json.dumps([[{"fail":"x"}],{},embed]).encode()).decode()}
        redis.lpush("celery", json.dumps(m))
        time.sleep(8)
    print("\n".join(w.lines))
    assert 0
