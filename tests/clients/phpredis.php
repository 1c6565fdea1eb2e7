<?php
// SPDX-License-Identifier: MIT
// phpredis.php - the 40 things of README.md, with phpredis.
declare(strict_types=1);

$number = 0;

// Runs the body now, as the next number; a text that it returns is said behind the name.
function test(string $name, callable $body): void
{
    global $number;
    $number++;
    try {
        $said = $body();
        echo "ok $number $name", is_string($said) ? $said : '', "\n";
    } catch (Throwable $e) {
        echo "not ok $number $name\n# ", get_class($e), ': ', substr($e->getMessage(), 0, 300), ' line ', $e->getLine(), "\n";
    }
}

function same($got, $expected): void
{
    if ($got !== $expected) {
        throw new Exception('got ' . substr(json_encode($got), 0, 200) . ', expected ' . substr(json_encode($expected), 0, 200));
    }
}

// The library throws for some errors; for most it answers false and keeps the text.
function refused(string $words, callable $body): void
{
    global $r;
    $r->clearLastError();
    try {
        same($body(), false);
        $text = (string)$r->getLastError();
    } catch (RedisException $e) {
        $text = $e->getMessage();
    }
    if (strpos($text, $words) === false) {
        throw new Exception("error $text, expected $words");
    }
}

function until(callable $condition): void
{
    $end = microtime(true) + 10;
    while (!$condition()) {
        if (microtime(true) > $end) {
            throw new Exception('it did not happen in 10 s');
        }
        usleep(5000);
    }
}

// The library knows no URLs: its parts are handed over.
function connect(?string $password = null, ?int $database = null): Redis
{
    global $argv;
    $url = parse_url($argv[1]);
    $client = new Redis();
    $client->connect($url['host'], $url['port'], 10);
    $client->auth([$url['user'], $password ?? $url['pass']]);
    $client->select($database ?? (int)substr($url['path'], 1));
    return $client;
}

$r = connect();
$one = connect();
$two = connect();
$bytes = implode('', array_map('chr', range(0, 255)));
$odd = "\x00\r\n\xff";

test('connect by URL', function () use ($r) {
    $r->flushAll();
    same($r->getDbNum(), 3);
    same(preg_match('/ db=3 .* user=default /', $r->rawCommand('CLIENT', 'INFO')), 1);
});

test('wrong password', function () {
    refused('WRONGPASS', fn() => connect('wrong'));
});

test('connection name', function () use ($r) {
    same([$r->client('setname', 'a-name'), $r->client('getname')], [true, 'a-name']);
});

test('ping and echo', function () use ($r) {
    same([$r->ping(), $r->ping('text'), $r->echo('text')], [true, 'text', 'text']);
});

test('info', function () use ($r) {
    same($r->info()['redis_version'], '7.0.15');
    same($r->info('clients')['connected_clients'] > 0, true);
});

test('set and get', function () use ($r) {
    same([$r->set('key', 'value'), $r->get('key')], [true, 'value']);
});

test('missing key', function () use ($r) {
    same([$r->get('missing'), $r->exists('missing')], [false, 0]);
});

test('binary value', function () use ($r, $bytes) {
    $r->set('binary', "$bytes\r\n\$-1\r\n");
    same($r->get('binary') === "$bytes\r\n\$-1\r\n", true);
});

test('binary key', function () use ($r, $odd) {
    $r->set($odd, 'v');
    same($r->exists($odd), 1);
    same($r->keys("\x00*") === [$odd], true);
});

test('empty value', function () use ($r) {
    $r->set('empty', '');
    same($r->get('empty'), '');
});

test('utf-8 text', function () use ($r) {
    $text = 'žluťoučký 馬 🐎';
    $r->set('text', $text);
    same([$r->get('text'), $r->strlen('text')], [$text, strlen($text)]);
});

test('big value', function () use ($r, $bytes) {
    $value = str_repeat($bytes, 8 * 4096);
    $r->set('big', $value);
    same([$r->strlen('big'), $r->get('big') === $value], [8 << 20, true]);
});

test('parts of a value', function () use ($r) {
    same([$r->append('parts', 'hello'), $r->append('parts', ' world')], [5, 11]);
    same($r->setRange('parts', 6, 'redis'), 11);
    same([$r->getRange('parts', 3, -3), $r->strlen('parts')], ['lo red', 11]);
});

test('counters', function () use ($r) {
    same([$r->incr('counter'), $r->incrBy('counter', 9007199254740993)], [1, 9007199254740994]);
    same($r->decrBy('counter', 9007199254740984), 10);
    same($r->incrByFloat('counter', 0.5), 10.5);
});

test('error reply', function () use ($r) {
    refused('value is not an integer or out of range', fn() => $r->incr('key'));
    same($r->get('key'), 'value');
});

test('unknown command', function () use ($r) {
    refused("unknown command 'NOSUCH'", fn() => $r->rawCommand('NOSUCH', 'a'));
    same($r->ping(), true);
});

test('several keys', function () use ($r) {
    same($r->mSet(['m1' => '1', 'm3' => '3']), true);
    same($r->mGet(['m1', 'm2', 'm3']), ['1', false, '3']);
});

test('conditional set', function () use ($r) {
    same([$r->set('once', '1', ['nx']), $r->set('once', '2', ['nx'])], [true, false]);
    same([$r->set('never', '1', ['xx']), $r->set('once', '3', ['xx'])], [false, true]);
    same($r->get('once'), '3');
});

test('old value', function () use ($r) {
    same($r->getSet('once', '4'), '3');
});

test('get and delete', function () use ($r) {
    same([$r->rawCommand('GETDEL', 'once'), $r->rawCommand('GETDEL', 'once')], ['4', false]);
});

test('delete', function () use ($r) {
    $r->mSet(['d1' => '1', 'd2' => '2', 'd3' => '3']);
    same($r->exists('d1', 'd2', 'd3', 'd3'), 4);
    same([$r->del('d1', 'd2', 'd4'), $r->unlink('d3', 'd4')], [2, 1]);
    same($r->exists('d1', 'd2', 'd3'), 0);
});

test('rename and type', function () use ($r) {
    $r->set('from', 'x');
    same($r->rename('from', 'to'), true);
    same([$r->type('to'), $r->type('from')], [Redis::REDIS_STRING, Redis::REDIS_NOT_FOUND]);
    refused('no such key', fn() => $r->rename('from', 'to'));
});

test('expiry', function () use ($r) {
    same([$r->ttl('to'), $r->ttl('from'), $r->expire('to', 100)], [-1, -2, true]);
    $left = $r->ttl('to');
    same($left > 0 && $left <= 100, true);
    same([$r->persist('to'), $r->ttl('to')], [true, -1]);
});

test('expired key', function () use ($r) {
    $r->set('brief', 'x', ['px' => 30]);
    until(fn() => $r->get('brief') === false);
    same($r->exists('brief'), 0);
});

test('expiry at a time', function () use ($r) {
    same([$r->expireAt('to', 4102444800), $r->rawCommand('EXPIRETIME', 'to')], [true, 4102444800]);
});

test('scan', function () use ($r) {
    $wanted = array_map(fn($i) => "scan:$i", range(0, 999));
    $r->mSet(array_fill_keys($wanted, 'x'));
    $found = [];
    $r->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
    for ($cursor = null; ($keys = $r->scan($cursor, 'scan:*', 100)) !== false;) {
        array_push($found, ...$keys);
    }
    sort($found);
    sort($wanted);
    same($found, $wanted);
});

test('databases', function () use ($r) {
    $other = connect(null, 4);
    same($other->dbSize(), 0);
    $other->set('key', 'other');
    same([$r->get('key'), $other->dbSize()], ['value', 1]);
    $other->flushDB();
    same($r->dbSize() > 1000, true);
});

test('pipeline', function () use ($r) {
    $r->pipeline();
    for ($i = 0; $i < 1000; $i++) {
        $r->set("p$i", (string)$i);
    }
    for ($i = 0; $i < 1000; $i++) {
        $r->get("p$i");
    }
    same($r->exec(), array_merge(array_fill(0, 1000, true), array_map('strval', range(0, 999))));
});

test('error in a pipeline', function () use ($r) {
    same($r->pipeline()->set('e1', '1')->incr('key')->set('e2', '2')->exec(), [true, false, true]);
    same($r->mGet(['e1', 'e2']), ['1', '2']);
});

test('configuration', function () use ($r) {
    $old = $r->config('GET', 'timeout')['timeout'];
    same($r->config('SET', 'timeout', '123'), true);
    same($r->config('GET', 'timeout'), ['timeout' => '123']);
    $r->config('SET', 'timeout', $old);
});

test('transaction', function () use ($r) {
    same($r->multi()->set('t1', '1')->incr('t1')->get('t1')->get('t2')->exec(), [true, 2, '2', false]);
});

test('discard', function () use ($one) {
    $one->multi()->set('t1', '9');
    same([$one->discard(), $one->get('t1')], [true, '2']);
});

test('watch', function () use ($r, $one) {
    $one->watch('t1');
    $value = (int)$one->get('t1');
    same([$one->multi()->set('t1', (string)($value + 1))->exec(), $r->get('t1')], [[true], '3']);
});

test('watch conflict', function () use ($r, $one) {
    $one->watch('t1');
    $r->set('t1', 'theirs');
    same([$one->multi()->set('t1', 'ours')->exec(), $r->get('t1')], [false, 'theirs']);
});

// Counts once; $between runs after the first look only. How many tries it took.
function addOne(Redis $client, callable $between): int
{
    for ($tries = 1;; $tries++) {
        $client->watch('count');
        $value = (int)$client->get('count');
        if ($tries === 1) {
            $between();
        }
        if ($client->multi()->set('count', (string)($value + 1))->exec() !== false) {
            return $tries;
        }
    }
}

test('counting by watch', function () use ($r, $one, $two) {
    for ($i = 0; $i < 20; $i++) {
        same(addOne($one, fn() => same(addOne($two, fn() => null), 1)), 2);
    }
    same($r->get('count'), '40');
});

test('error in a transaction', function () use ($r) {
    same($r->multi()->set('x1', '1')->incr('key')->set('x2', '2')->exec(), [true, false, true]);
    same($r->mGet(['x1', 'x2']), ['1', '2']);
});

// This version goes on reading for ever, whatever the callback unsubscribes from. A callback that has heard enough
// closes the connection, which the library answers with an exception.
function listen(string $how, string $what, callable $hear): void
{
    $listener = connect();
    try {
        $listener->$how([$what], $hear);
        throw new Exception('the subscription ended by itself');
    } catch (RedisException $e) {
        same($e->getMessage(), 'Connection closed');
    }
}

// The library tells nobody that a subscription has begun, and a subscriber does nothing else: another process publishes
// as soon as the server knows of it.
function publishing(array $count, callable $publish): int
{
    $child = pcntl_fork();
    if ($child === 0) {
        $publisher = connect();
        try {
            until(fn() => $publisher->rawCommand(...$count) == ($count[1] === 'NUMPAT' ? 1 : [$count[2], 1]));
            $publish($publisher);
        } finally {
            posix_kill(getmypid(), SIGKILL); // no destructor of what it shares with its parent
        }
    }
    return $child;
}

test('subscribe', function () use ($r) {
    $heard = [];
    $child = publishing(['PUBSUB', 'NUMSUB', 'news'], function ($publisher) {
        foreach (range(0, 99) as $i) {
            $publisher->publish('news', (string)$i);
        }
    });
    listen('subscribe', 'news', function ($client, $channel, $message) use (&$heard) {
        $heard[] = $message;
        if (count($heard) === 100) {
            $client->close();
        }
    });
    pcntl_waitpid($child, $status);
    same($heard, array_map('strval', range(0, 99)));
    until(fn() => $r->publish('news', 'x') === 0);
});

test('subscribe to a pattern', function () use ($odd) {
    $heard = null;
    $child = publishing(['PUBSUB', 'NUMPAT'], function ($publisher) use ($odd) {
        $publisher->publish('other', 'x');
        $publisher->publish('news.one', $odd);
    });
    listen('psubscribe', 'n?ws.*', function ($client, $pattern, $channel, $message) use (&$heard) {
        $heard = [$pattern, $channel, $message];
        $client->close();
    });
    pcntl_waitpid($child, $status);
    same($heard === ['n?ws.*', 'news.one', $odd], true);
});

test('restart', function () use ($r) {
    $r->set('kept', 'through the restart');
    echo "restart\n";
    fgets(STDIN);
    until(function () use ($r) {
        try {
            return $r->ping();
        } catch (RedisException $e) {
            return false;
        }
    });
    same($r->get('kept'), 'through the restart');
    same(preg_match('/ db=3 .* user=default /', $r->rawCommand('CLIENT', 'INFO')), 1);
});

test('resp3', fn() => ' # SKIP the library speaks RESP2 only');
