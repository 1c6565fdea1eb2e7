// SPDX-License-Identifier: MIT

// redigo.go - the 40 things of README.md, with redigo.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

var (
	url    string
	number int
	stdin  = bufio.NewReader(os.Stdin)
)

// test runs body now, as the next number; a panic in it is a failure.
func test(name string, body func()) {
	number++
	defer func() {
		if e := recover(); e != nil {
			fmt.Printf("not ok %d %s\n# %.300s\n", number, name, strings.ReplaceAll(fmt.Sprint(e), "\n", " "))
			return
		}
		fmt.Printf("ok %d %s\n", number, name)
	}()
	body()
}

func same(got, expected interface{}) {
	if !reflect.DeepEqual(got, expected) {
		panic(fmt.Sprintf("got %.200q, expected %.200q", fmt.Sprint(got), fmt.Sprint(expected)))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func refused(words string, err error) {
	if err == nil || !strings.Contains(err.Error(), words) {
		panic(fmt.Sprintf("error %v, expected %s", err, words))
	}
}

func until(condition func() bool) {
	for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			panic("it did not happen in 10 s")
		}
	}
}

func connect(to string) redis.Conn {
	c, err := redis.DialURL(to)
	check(err)
	return c
}

// The replies to one command, in the forms in which tests compare them.
type conn struct{ redis.Conn }

func (c conn) do(command string, args ...interface{}) interface{} {
	reply, err := c.Do(command, args...)
	check(err)
	if b, ok := reply.([]byte); ok {
		return string(b)
	}
	return reply
}

func (c conn) int(command string, args ...interface{}) int64 {
	n, err := redis.Int64(c.Do(command, args...))
	check(err)
	return n
}

func (c conn) strings(command string, args ...interface{}) []string {
	list, err := redis.Strings(c.Do(command, args...))
	check(err)
	return list
}

func (c conn) err(command string, args ...interface{}) error {
	_, err := c.Do(command, args...)
	return err
}

func numbers(n int, form string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(form, i)
	}
	return list
}

func main() {
	url = os.Args[1]
	r := conn{connect(url)}
	values(r)
	keys(r)
	one, two := conn{connect(url)}, conn{connect(url)}
	batches(r)
	transactions(r, one, two)
	messages(r)
	restart()
	number++
	fmt.Printf("ok %d resp3 # SKIP the library speaks RESP2 only\n", number)
}

func values(r conn) {
	odd := "\x00\r\n\xff"
	test("connect by URL", func() {
		r.do("FLUSHALL")
		info := r.do("CLIENT", "INFO").(string)
		same([]bool{strings.Contains(info, " db=3 "), strings.Contains(info, " user=default ")}, []bool{true, true})
	})
	test("wrong password", func() {
		_, err := redis.DialURL(strings.Replace(url, "secret", "wrong", 1))
		refused("WRONGPASS", err)
	})
	test("connection name", func() {
		c, err := redis.DialURL(url, redis.DialClientName("a-name"))
		check(err)
		same(conn{c}.do("CLIENT", "GETNAME"), "a-name")
		check(c.Close())
	})
	test("ping and echo", func() {
		same([]interface{}{r.do("PING"), r.do("PING", "text"), r.do("ECHO", "text")}, []interface{}{"PONG", "text", "text"})
	})
	test("info", func() {
		same(strings.Contains(r.do("INFO").(string), "redis_version:7.0.15\r\n"), true)
		same(strings.Contains(r.do("INFO", "clients").(string), "connected_clients:"), true)
	})
	test("set and get", func() {
		same([]interface{}{r.do("SET", "key", "value"), r.do("GET", "key")}, []interface{}{"OK", "value"})
	})
	test("missing key", func() {
		same([]interface{}{r.do("GET", "missing"), r.do("EXISTS", "missing")}, []interface{}{nil, int64(0)})
	})
	test("binary value", func() {
		value := make([]byte, 256)
		for i := range value {
			value[i] = byte(i)
		}
		value = append(value, "\r\n$-1\r\n"...)
		r.do("SET", "binary", value)
		same(r.do("GET", "binary"), string(value))
	})
	test("binary key", func() {
		r.do("SET", odd, "v")
		same(r.do("EXISTS", odd), int64(1))
		same(r.strings("KEYS", "\x00*"), []string{odd})
	})
	test("empty value", func() {
		r.do("SET", "empty", "")
		same(r.do("GET", "empty"), "")
	})
	test("utf-8 text", func() {
		text := "žluťoučký 馬 🐎"
		r.do("SET", "text", text)
		same([]interface{}{r.do("GET", "text"), r.do("STRLEN", "text")}, []interface{}{text, int64(len(text))})
	})
	test("big value", func() {
		value := bytes.Repeat([]byte("0123456789abcdef"), 512*1024)
		r.do("SET", "big", value)
		same(r.do("STRLEN", "big"), int64(8<<20))
		same(r.do("GET", "big") == string(value), true)
	})
	test("parts of a value", func() {
		same([]int64{r.int("APPEND", "parts", "hello"), r.int("APPEND", "parts", " world")}, []int64{5, 11})
		same(r.int("SETRANGE", "parts", 6, "redis"), int64(11))
		same([]interface{}{r.do("GETRANGE", "parts", 3, -3), r.do("STRLEN", "parts")}, []interface{}{"lo red", int64(11)})
	})
	test("counters", func() {
		same([]int64{r.int("INCR", "counter"), r.int("INCRBY", "counter", 9007199254740993)}, []int64{1, 9007199254740994})
		same(r.int("DECRBY", "counter", 9007199254740984), int64(10))
		same(r.do("INCRBYFLOAT", "counter", 0.5), "10.5")
	})
	test("error reply", func() {
		refused("value is not an integer or out of range", r.err("INCR", "key"))
		same(r.do("GET", "key"), "value")
	})
	test("unknown command", func() {
		refused("unknown command 'NOSUCH'", r.err("NOSUCH", "a"))
		same(r.do("PING"), "PONG")
	})
	test("several keys", func() {
		same(r.do("MSET", "m1", 1, "m3", 3), "OK")
		same(r.do("MGET", "m1", "m2", "m3"), []interface{}{[]byte("1"), nil, []byte("3")})
	})
	test("conditional set", func() {
		same([]interface{}{r.do("SET", "once", 1, "NX"), r.do("SET", "once", 2, "NX")}, []interface{}{"OK", nil})
		same([]interface{}{r.do("SET", "never", 1, "XX"), r.do("SET", "once", 3, "XX")}, []interface{}{nil, "OK"})
		same(r.do("GET", "once"), "3")
	})
	test("old value", func() { same(r.do("SET", "once", 4, "GET"), "3") })
	test("get and delete", func() {
		same([]interface{}{r.do("GETDEL", "once"), r.do("GETDEL", "once")}, []interface{}{"4", nil})
	})
}

func keys(r conn) {
	test("delete", func() {
		r.do("MSET", "d1", 1, "d2", 2, "d3", 3)
		same(r.int("EXISTS", "d1", "d2", "d3", "d3"), int64(4))
		same([]int64{r.int("DEL", "d1", "d2", "d4"), r.int("UNLINK", "d3", "d4")}, []int64{2, 1})
		same(r.int("EXISTS", "d1", "d2", "d3"), int64(0))
	})
	test("rename and type", func() {
		r.do("SET", "from", "x")
		same(r.do("RENAME", "from", "to"), "OK")
		same([]interface{}{r.do("TYPE", "to"), r.do("TYPE", "from")}, []interface{}{"string", "none"})
		refused("no such key", r.err("RENAME", "from", "to"))
	})
	test("expiry", func() {
		same([]int64{r.int("TTL", "to"), r.int("TTL", "from"), r.int("EXPIRE", "to", 100)}, []int64{-1, -2, 1})
		left := r.int("TTL", "to")
		same(left > 0 && left <= 100, true)
		same([]int64{r.int("PERSIST", "to"), r.int("TTL", "to")}, []int64{1, -1})
	})
	test("expired key", func() {
		r.do("SET", "brief", "x", "PX", 30)
		until(func() bool { return r.do("GET", "brief") == nil })
		same(r.int("EXISTS", "brief"), int64(0))
	})
	test("expiry at a time", func() {
		same([]int64{r.int("EXPIREAT", "to", 4102444800), r.int("EXPIRETIME", "to")}, []int64{1, 4102444800})
	})
	test("scan", func() {
		wanted := numbers(1000, "scan:%d")
		args := redis.Args{}
		for _, key := range wanted {
			args = args.Add(key, "x")
		}
		r.do("MSET", args...)
		var found []string
		for cursor := int64(0); ; {
			reply, err := redis.Values(r.Do("SCAN", cursor, "MATCH", "scan:*", "COUNT", 100))
			check(err)
			var page []string
			_, err = redis.Scan(reply, &cursor, &page)
			check(err)
			found = append(found, page...)
			if cursor == 0 {
				break
			}
		}
		sort.Strings(found)
		sort.Strings(wanted)
		same(found, wanted)
	})
	test("databases", func() {
		other := conn{connect(strings.Replace(url, "/3", "/4", 1))}
		same(other.int("DBSIZE"), int64(0))
		other.do("SET", "key", "other")
		same([]interface{}{r.do("GET", "key"), other.do("DBSIZE")}, []interface{}{"value", int64(1)})
		other.do("FLUSHDB")
		same(r.int("DBSIZE") > 1000, true)
		check(other.Close())
	})
}

func batches(r conn) {
	test("pipeline", func() {
		for i := 0; i < 1000; i++ {
			check(r.Send("SET", fmt.Sprint("p", i), i))
		}
		for i := 0; i < 1000; i++ {
			check(r.Send("GET", fmt.Sprint("p", i)))
		}
		check(r.Flush())
		for i := 0; i < 1000; i++ {
			reply, err := redis.String(r.Receive())
			check(err)
			same(reply, "OK")
		}
		for i := 0; i < 1000; i++ {
			reply, err := redis.Int(r.Receive())
			check(err)
			same(reply, i)
		}
	})
	test("error in a pipeline", func() {
		check(r.Send("SET", "e1", 1))
		check(r.Send("INCR", "key"))
		check(r.Send("SET", "e2", 2))
		check(r.Flush())
		_, err := r.Receive()
		check(err)
		_, err = r.Receive()
		refused("not an integer", err)
		_, err = r.Receive()
		check(err)
		same(r.strings("MGET", "e1", "e2"), []string{"1", "2"})
	})
	test("configuration", func() {
		old := r.strings("CONFIG", "GET", "timeout")[1]
		same(r.do("CONFIG", "SET", "timeout", 123), "OK")
		same(r.strings("CONFIG", "GET", "timeout"), []string{"timeout", "123"})
		r.do("CONFIG", "SET", "timeout", old)
	})
}

// addOne counts once; between runs after the first look only. It returns how many tries it took.
func addOne(c conn, between func()) int {
	for tries := 1; ; tries++ {
		c.do("WATCH", "count")
		value, err := redis.Int(c.Do("GET", "count"))
		if err != redis.ErrNil {
			check(err)
		}
		if tries == 1 {
			between()
		}
		check(c.Send("MULTI"))
		check(c.Send("SET", "count", value+1))
		if c.do("EXEC") != nil {
			return tries
		}
	}
}

func transactions(r, one, two conn) {
	test("transaction", func() {
		check(r.Send("MULTI"))
		check(r.Send("SET", "t1", 1))
		check(r.Send("INCR", "t1"))
		check(r.Send("GET", "t1"))
		check(r.Send("GET", "t2"))
		same(r.do("EXEC"), []interface{}{"OK", int64(2), []byte("2"), nil})
	})
	test("discard", func() {
		same([]interface{}{one.do("MULTI"), one.do("SET", "t1", 9), one.do("DISCARD"), one.do("GET", "t1")},
			[]interface{}{"OK", "QUEUED", "OK", "2"})
	})
	test("watch", func() {
		one.do("WATCH", "t1")
		value := one.int("GET", "t1")
		check(one.Send("MULTI"))
		check(one.Send("SET", "t1", value+1))
		same(one.do("EXEC"), []interface{}{"OK"})
		same(r.do("GET", "t1"), "3")
	})
	test("watch conflict", func() {
		one.do("WATCH", "t1")
		r.do("SET", "t1", "theirs")
		check(one.Send("MULTI"))
		check(one.Send("SET", "t1", "ours"))
		same([]interface{}{one.do("EXEC"), r.do("GET", "t1")}, []interface{}{nil, "theirs"})
	})
	test("counting by watch", func() {
		for i := 0; i < 20; i++ {
			same(addOne(one, func() { same(addOne(two, func() {}), 1) }), 2)
		}
		same(r.do("GET", "count"), "40")
	})
	test("error in a transaction", func() {
		check(r.Send("MULTI"))
		check(r.Send("SET", "x1", 1))
		check(r.Send("INCR", "key"))
		check(r.Send("SET", "x2", 2))
		replies, err := redis.Values(r.Do("EXEC"))
		check(err)
		same([]interface{}{replies[0], replies[2]}, []interface{}{"OK", "OK"})
		refused("not an integer", replies[1].(redis.Error))
		same(r.strings("MGET", "x1", "x2"), []string{"1", "2"})
	})
}

func messages(r conn) {
	test("subscribe", func() {
		c := connect(url)
		listener := redis.PubSubConn{Conn: c}
		check(listener.Subscribe("news"))
		same(listener.Receive(), redis.Subscription{Kind: "subscribe", Channel: "news", Count: 1})
		for i := 0; i < 100; i++ {
			same(r.int("PUBLISH", "news", i), int64(1))
		}
		for i := 0; i < 100; i++ {
			same(listener.ReceiveWithTimeout(10*time.Second), redis.Message{Channel: "news", Data: []byte(fmt.Sprint(i))})
		}
		check(listener.Unsubscribe("news"))
		same(listener.Receive(), redis.Subscription{Kind: "unsubscribe", Channel: "news", Count: 0})
		same(r.int("PUBLISH", "news", "x"), int64(0))
		same(conn{c}.do("GET", "count"), "40")
		check(c.Close())
	})
	test("subscribe to a pattern", func() {
		listener := redis.PubSubConn{Conn: connect(url)}
		check(listener.PSubscribe("n?ws.*"))
		same(listener.Receive(), redis.Subscription{Kind: "psubscribe", Channel: "n?ws.*", Count: 1})
		r.do("PUBLISH", "other", "x")
		r.do("PUBLISH", "news.one", "\x00\r\n\xff")
		same(listener.ReceiveWithTimeout(10*time.Second),
			redis.Message{Channel: "news.one", Pattern: "n?ws.*", Data: []byte("\x00\r\n\xff")})
		check(listener.Close())
	})
}

// A pool is how this library connects again: a connection that broke is not lent twice.
func restart() {
	test("restart", func() {
		pool := &redis.Pool{MaxIdle: 1, Dial: func() (redis.Conn, error) { return redis.DialURL(url) }}
		first := conn{pool.Get()}
		first.do("SET", "kept", "through the restart")
		check(first.Close())
		fmt.Println("restart")
		_, err := stdin.ReadString('\n')
		check(err)
		until(func() bool {
			c := pool.Get()
			defer c.Close()
			_, err := c.Do("PING")
			return err == nil
		})
		again := conn{pool.Get()}
		same(again.do("GET", "kept"), "through the restart")
		same(strings.Contains(again.do("CLIENT", "INFO").(string), " db=3 "), true)
		check(pool.Close())
	})
}
