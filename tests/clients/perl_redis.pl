# SPDX-License-Identifier: MIT
# perl_redis.pl - the 40 things of README.md, with Redis.pm.
use strict;
use warnings;
use Redis;
use Time::HiRes qw(time usleep);
use Encode qw(encode_utf8 decode_utf8);
use utf8;

$| = 1;
my ($user, $password, $host, $database) = $ARGV[0] =~ m{^redis://(\w+):(\w+)@([^/]+)/(\d+)$} or die 'no URL';
my $number = 0;

# Runs the body now, as the next number; a text that it returns and that begins with " #" is said behind the name.
sub test {
    my ($name, $body) = @_;
    $number++;
    my $said = eval { $body->() };
    if (my $e = $@) {
        $e =~ s/\n.*//s;
        print "not ok $number $name\n# ", substr($e, 0, 300), "\n";
        return;
    }
    print "ok $number $name", (defined $said && $said =~ /^ #/ ? $said : ''), "\n";
}

sub show {
    my ($x) = @_;
    return !defined $x ? 'undef' : ref $x ? '[' . join(', ', map { show($_) } @$x) . ']' : "'$x'";
}

sub same {
    my ($got, $expected) = @_;
    my ($g, $e) = (show($got), show($expected));
    die 'got ' . substr($g, 0, 200) . ', expected ' . substr($e, 0, 200) . "\n" if $g ne $e;
}

sub refused {
    my ($words, $body) = @_;
    die "no error\n" if eval { $body->(); 1 };
    die "error $@, expected $words\n" if index($@, $words) < 0;
}

sub until_true {
    my ($condition) = @_;
    my $end = time + 10;
    until ($condition->()) {
        die "it did not happen in 10 s\n" if time > $end;
        usleep(5000);
    }
}

# The library knows no URLs: its parts are handed over.
sub connect_to {
    my (%more) = @_;
    my $db = delete $more{database} // $database;
    return Redis->new(
        server => $host, username => $user, password => $password, reconnect => 10, every => 5_000,
        on_connect => sub { $_[0]->select($db) }, %more);
}

my $r = connect_to();
my $one = connect_to();
my $two = connect_to();
my $all_bytes = pack('C*', 0 .. 255);
my $odd = "\x00\r\n\xff";

test('connect by URL', sub {
    $r->flushall;
    my $info = $r->client('INFO');
    same([$info =~ / db=(\d+) .* user=(\w+) /], [3, 'default']);
});

test('wrong password', sub {
    refused('WRONGPASS', sub { connect_to(password => 'wrong', reconnect => 0)->ping });
});

test('connection name', sub {
    same(connect_to(name => 'a-name')->client_getname, 'a-name');
});

test('ping and echo', sub { same([$r->ping, $r->echo('text')], ['PONG', 'text']) });

test('info', sub {
    same($r->info->{redis_version}, '7.0.15');
    same($r->info('clients')->{connected_clients} > 0 ? 1 : 0, 1);
});

test('set and get', sub { same([$r->set('key', 'value'), $r->get('key')], ['OK', 'value']) });

test('missing key', sub { same([scalar $r->get('missing'), $r->exists('missing')], [undef, 0]) });

test('binary value', sub {
    $r->set('binary', "$all_bytes\r\n\$-1\r\n");
    same($r->get('binary'), "$all_bytes\r\n\$-1\r\n");
});

test('binary key', sub {
    $r->set($odd, 'v');
    same($r->exists($odd), 1);
    same([$r->keys("\x00*")], [$odd]);
});

test('empty value', sub {
    $r->set('empty', '');
    same($r->get('empty'), '');
});

test('utf-8 text', sub {
    my $text = 'žluťoučký 馬 🐎';
    $r->set('text', encode_utf8($text));
    same([decode_utf8($r->get('text')), $r->strlen('text')], [$text, length encode_utf8($text)]);
});

test('big value', sub {
    my $value = $all_bytes x (8 * 4096);
    $r->set('big', $value);
    same([$r->strlen('big'), $r->get('big') eq $value ? 1 : 0], [8 << 20, 1]);
});

test('parts of a value', sub {
    same([$r->append('parts', 'hello'), $r->append('parts', ' world')], [5, 11]);
    same($r->setrange('parts', 6, 'redis'), 11);
    same([$r->getrange('parts', 3, -3), $r->strlen('parts')], ['lo red', 11]);
});

test('counters', sub {
    same([$r->incr('counter'), $r->incrby('counter', 9007199254740993)], [1, 9007199254740994]);
    same($r->decrby('counter', 9007199254740984), 10);
    same($r->incrbyfloat('counter', 0.5), '10.5');
});

test('error reply', sub {
    refused('value is not an integer or out of range', sub { $r->incr('key') });
    same($r->get('key'), 'value');
});

test('unknown command', sub {
    refused("unknown command 'NOSUCH'", sub { $r->nosuch('a') });
    same($r->ping, 'PONG');
});

test('several keys', sub {
    same($r->mset(m1 => 1, m3 => 3), 'OK');
    same([$r->mget('m1', 'm2', 'm3')], ['1', undef, '3']);
});

test('conditional set', sub {
    same([scalar $r->set('once', 1, 'NX'), scalar $r->set('once', 2, 'NX')], ['OK', undef]);
    same([scalar $r->set('never', 1, 'XX'), scalar $r->set('once', 3, 'XX')], [undef, 'OK']);
    same($r->get('once'), '3');
});

test('old value', sub { same($r->set('once', 4, 'GET'), '3') });

test('get and delete', sub { same([scalar $r->getdel('once'), scalar $r->getdel('once')], ['4', undef]) });

test('delete', sub {
    $r->mset(d1 => 1, d2 => 2, d3 => 3);
    same($r->exists('d1', 'd2', 'd3', 'd3'), 4);
    same([$r->del('d1', 'd2', 'd4'), $r->unlink('d3', 'd4')], [2, 1]);
    same($r->exists('d1', 'd2', 'd3'), 0);
});

test('rename and type', sub {
    $r->set('from', 'x');
    same($r->rename('from', 'to'), 'OK');
    same([$r->type('to'), $r->type('from')], ['string', 'none']);
    refused('no such key', sub { $r->rename('from', 'to') });
});

test('expiry', sub {
    same([$r->ttl('to'), $r->ttl('from'), $r->expire('to', 100)], [-1, -2, 1]);
    my $left = $r->ttl('to');
    same($left > 0 && $left <= 100 ? 1 : 0, 1);
    same([$r->persist('to'), $r->ttl('to')], [1, -1]);
});

test('expired key', sub {
    $r->set('brief', 'x', 'PX', 30);
    until_true(sub { !defined $r->get('brief') });
    same($r->exists('brief'), 0);
});

test('expiry at a time', sub { same([$r->expireat('to', 4102444800), $r->expiretime('to')], [1, 4102444800]) });

test('scan', sub {
    my @wanted = map { "scan:$_" } 0 .. 999;
    $r->mset(map { $_ => 'x' } @wanted);
    my ($cursor, @found) = (0);
    do {
        ($cursor, my $keys) = $r->scan($cursor, 'MATCH', 'scan:*', 'COUNT', 100);
        push @found, @$keys;
    } while ($cursor);
    same([sort @found], [sort @wanted]);
});

test('databases', sub {
    my $other = connect_to(database => 4);
    same($other->dbsize, 0);
    $other->set('key', 'other');
    same([$r->get('key'), $other->dbsize], ['value', 1]);
    $other->flushdb;
    same($r->dbsize > 1000 ? 1 : 0, 1);
});

test('pipeline', sub {
    my @replies;
    my $take = sub { push @replies, $_[0] };
    $r->set("p$_", $_, $take) for 0 .. 999;
    $r->get("p$_", $take) for 0 .. 999;
    $r->wait_all_responses;
    same(\@replies, [('OK') x 1000, 0 .. 999]);
});

test('error in a pipeline', sub {
    my $error;
    $r->set('e1', 1, sub { });
    $r->incr('key', sub { $error = $_[1] });
    $r->set('e2', 2, sub { });
    $r->wait_all_responses;
    same($error =~ /not an integer/ ? 1 : 0, 1);
    same([$r->mget('e1', 'e2')], [1, 2]);
});

test('configuration', sub {
    my (undef, $old) = $r->config_get('timeout');
    same($r->config_set('timeout', 123), 'OK');
    same([$r->config_get('timeout')], ['timeout', 123]);
    $r->config_set('timeout', $old);
});

test('transaction', sub {
    same($r->multi, 'OK');
    same([$r->set('t1', 1), $r->incr('t1'), $r->get('t1'), $r->get('t2')], [('QUEUED') x 4]);
    same([$r->exec], ['OK', 2, 2, undef]);
});

test('discard', sub {
    same([$one->multi, $one->set('t1', 9), $one->discard, $one->get('t1')], ['OK', 'QUEUED', 'OK', 2]);
});

test('watch', sub {
    $one->watch('t1');
    my $value = $one->get('t1');
    $one->multi;
    $one->set('t1', $value + 1);
    same([$one->exec], ['OK']);
    same($r->get('t1'), 3);
});

test('watch conflict', sub {
    $one->watch('t1');
    $r->set('t1', 'theirs');
    $one->multi;
    $one->set('t1', 'ours');
    same(scalar $one->exec, undef);
    same($r->get('t1'), 'theirs');
});

# Counts once; between runs after the first look only. How many tries it took.
sub add_one {
    my ($client, $between) = @_;
    for (my $tries = 1; ; $tries++) {
        $client->watch('count');
        my $value = $client->get('count') // 0;
        $between->() if $tries == 1;
        $client->multi;
        $client->set('count', $value + 1);
        return $tries if defined scalar $client->exec;
    }
}

test('counting by watch', sub {
    same(add_one($one, sub { same(add_one($two, sub { }), 1) }), 2) for 1 .. 20;
    same($r->get('count'), 40);
});

test('error in a transaction', sub {
    $r->multi;
    $r->set('x1', 1);
    $r->incr('key');
    $r->set('x2', 2);
    my $replies;
    $r->exec(sub { $replies = $_[0] });
    $r->wait_all_responses;
    same([$replies->[0][0], $replies->[2][0]], ['OK', 'OK']);
    same($replies->[1][1] =~ /not an integer/ ? 1 : 0, 1);
    same([$r->mget('x1', 'x2')], [1, 2]);
});

test('subscribe', sub {
    my @heard;
    my $take = sub { push @heard, $_[0] };
    $one->subscribe('news', $take);
    same($r->publish('news', $_), 1) for 0 .. 99;
    $one->wait_for_messages(10) while @heard < 100;
    same(\@heard, [0 .. 99]);
    $one->unsubscribe('news', $take);
    same($r->publish('news', 'x'), 0);
    same($one->get('count'), 40);
});

test('subscribe to a pattern', sub {
    my @heard;
    my $take = sub { push @heard, [$_[2], $_[1], $_[0]] };
    $one->psubscribe('n?ws.*', $take);
    $r->publish('other', 'x');
    $r->publish('news.one', $odd);
    $one->wait_for_messages(10) while !@heard;
    same(\@heard, [['n?ws.*', 'news.one', $odd]]);
    $one->punsubscribe('n?ws.*', $take);
});

test('restart', sub {
    $r->set('kept', 'through the restart');
    print "restart\n";
    <STDIN>;
    until_true(sub { eval { $r->exists('kept') } }); # this library's ping never connects again
    same([$r->get('kept'), $r->client('INFO') =~ / db=(\d+) /], ['through the restart', 3]);
});

test('resp3', sub { ' # SKIP the library speaks RESP2 only' });
