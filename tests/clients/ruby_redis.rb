# SPDX-License-Identifier: MIT
# ruby_redis.rb - the 40 things of README.md, with redis-rb.
require 'redis'

URL_GIVEN = ARGV[0]
$stdout.sync = true
$number = 0

# Runs the block now, as the next number; a text beginning with " #" is said behind the name.
def test(name)
  $number += 1
  said = yield
  puts "ok #{$number} #{name}#{said if said.is_a?(String) && said.start_with?(' #')}"
rescue StandardError => e
  puts "not ok #{$number} #{name}\n# #{e.class}: #{e.message[0, 300].inspect} #{e.backtrace[0, 2]}"
end

def same(got, expected)
  raise "got #{got.inspect[0, 200]}, expected #{expected.inspect[0, 200]}" unless got == expected
end

def refused(words)
  yield
rescue Redis::BaseError => e
  raise "error #{e.message}, expected #{words}" unless e.message.include?(words)
else
  raise 'no error'
end

def wait_until
  limit = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 10
  until yield
    raise 'it did not happen in 10 s' if Process.clock_gettime(Process::CLOCK_MONOTONIC) > limit

    sleep 0.005
  end
end

def connect(more = {})
  Redis.new({ url: URL_GIVEN }.merge(more))
end

r = connect
one = connect
two = connect
all_bytes = (0..255).to_a.pack('C*') + "\r\n$-1\r\n".b
odd = "\x00\r\n\xff".b

test('connect by URL') do
  r.flushall
  info = r.call('CLIENT', 'INFO')
  same([info.include?(' db=3 '), info.include?(' user=default ')], [true, true])
end

test('wrong password') do
  refused('WRONGPASS') { connect(url: URL_GIVEN.sub('secret', 'wrong')).ping }
end

test('connection name') do
  same(r.client(:setname, 'a-name'), 'OK')
  same(r.client(:getname), 'a-name')
end

test('ping and echo') { same([r.ping, r.ping('text'), r.echo('text')], %w[PONG text text]) }

test('info') do
  same(r.info['redis_version'], '7.0.15')
  same(r.info('clients')['connected_clients'].to_i.positive?, true)
end

test('set and get') { same([r.set('key', 'value'), r.get('key')], %w[OK value]) }

test('missing key') { same([r.get('missing'), r.exists('missing')], [nil, 0]) }

test('binary value') do
  r.set('binary', all_bytes)
  same(r.get('binary').b, all_bytes)
end

test('binary key') do
  r.set(odd, 'v')
  same(r.exists(odd), 1)
  same(r.keys("\x00*").map(&:b), [odd])
end

test('empty value') do
  r.set('empty', '')
  same(r.get('empty'), '')
end

test('utf-8 text') do
  text = 'žluťoučký 馬 🐎'
  r.set('text', text)
  same([r.get('text'), r.strlen('text')], [text, text.bytesize])
end

test('big value') do
  value = (0..255).to_a.pack('C*') * (8 * 4096)
  r.set('big', value)
  same(r.strlen('big'), 8 << 20)
  same(r.get('big').b == value, true)
end

test('parts of a value') do
  same([r.append('parts', 'hello'), r.append('parts', ' world')], [5, 11])
  same(r.setrange('parts', 6, 'redis'), 11)
  same([r.getrange('parts', 3, -3), r.strlen('parts')], ['lo red', 11])
end

test('counters') do
  same([r.incr('counter'), r.incrby('counter', 9_007_199_254_740_993)], [1, 9_007_199_254_740_994])
  same(r.decrby('counter', 9_007_199_254_740_984), 10)
  same(r.incrbyfloat('counter', 0.5), 10.5)
end

test('error reply') do
  refused('value is not an integer or out of range') { r.incr('key') }
  same(r.get('key'), 'value')
end

test('unknown command') do
  refused("unknown command 'NOSUCH'") { r.call('NOSUCH', 'a') }
  same(r.ping, 'PONG')
end

test('several keys') do
  same(r.mapped_mset('m1' => '1', 'm3' => '3'), 'OK')
  same(r.mget('m1', 'm2', 'm3'), ['1', nil, '3'])
end

test('conditional set') do
  same([r.set('once', 1, nx: true), r.set('once', 2, nx: true)], [true, false])
  same([r.set('never', 1, xx: true), r.set('once', 3, xx: true)], [false, true])
  same(r.get('once'), '3')
end

test('old value') { same(r.set('once', 4, get: true), '3') }

test('get and delete') { same([r.getdel('once'), r.getdel('once')], ['4', nil]) }

test('delete') do
  r.mset('d1', 1, 'd2', 2, 'd3', 3)
  same(r.exists('d1', 'd2', 'd3', 'd3'), 4)
  same([r.del('d1', 'd2', 'd4'), r.unlink('d3', 'd4')], [2, 1])
  same(r.exists('d1', 'd2', 'd3'), 0)
end

test('rename and type') do
  r.set('from', 'x')
  same(r.rename('from', 'to'), 'OK')
  same([r.type('to'), r.type('from')], %w[string none])
  refused('no such key') { r.rename('from', 'to') }
end

test('expiry') do
  same([r.ttl('to'), r.ttl('from'), r.expire('to', 100)], [-1, -2, true])
  same(r.ttl('to').between?(1, 100), true)
  same([r.persist('to'), r.ttl('to')], [true, -1])
end

test('expired key') do
  r.set('brief', 'x', px: 30)
  wait_until { r.get('brief').nil? }
  same(r.exists('brief'), 0)
end

test('expiry at a time') do
  same([r.expireat('to', 4_102_444_800), r.call('EXPIRETIME', 'to')], [true, 4_102_444_800])
end

test('scan') do
  wanted = (0...1000).map { |i| "scan:#{i}" }
  r.mset(*wanted.flat_map { |key| [key, 'x'] })
  same(r.scan_each(match: 'scan:*', count: 100).to_a.sort, wanted.sort)
end

test('databases') do
  other = connect(url: URL_GIVEN.sub('/3', '/4'))
  same(other.dbsize, 0)
  other.set('key', 'other')
  same([r.get('key'), other.dbsize], ['value', 1])
  other.flushdb
  same(r.dbsize > 1000, true)
end

test('pipeline') do
  replies = r.pipelined do |p|
    1000.times { |i| p.set("p#{i}", i) }
    1000.times { |i| p.get("p#{i}") }
  end
  same(replies, ['OK'] * 1000 + (0...1000).map(&:to_s))
end

test('error in a pipeline') do
  refused('not an integer') do
    r.pipelined do |p|
      p.set('e1', 1)
      p.incr('key')
      p.set('e2', 2)
    end
  end
  same(r.mget('e1', 'e2'), %w[1 2])
end

test('configuration') do
  old = r.config(:get, 'timeout')['timeout']
  same(r.config(:set, 'timeout', 123), 'OK')
  same(r.config(:get, 'timeout'), { 'timeout' => '123' })
  r.config(:set, 'timeout', old)
end

test('transaction') do
  replies = r.multi do |m|
    m.set('t1', 1)
    m.incr('t1')
    m.get('t1')
    m.get('t2')
  end
  same(replies, ['OK', 2, '2', nil])
end

test('discard') do
  same(one.call('MULTI'), 'OK')
  same(one.call('SET', 't1', '9'), 'QUEUED')
  same(one.call('DISCARD'), 'OK')
  same(one.get('t1'), '2')
end

test('watch') do
  replies = one.watch('t1') do
    value = one.get('t1').to_i
    one.multi { |m| m.set('t1', value + 1) }
  end
  same([replies, r.get('t1')], [['OK'], '3'])
end

test('watch conflict') do
  replies = one.watch('t1') do
    r.set('t1', 'theirs')
    one.multi { |m| m.set('t1', 'ours') }
  end
  same([replies, r.get('t1')], [nil, 'theirs'])
end

# Counts once; the block runs after the first look only. How many tries it took.
def add_one(client)
  tries = 0
  loop do
    tries += 1
    client.watch('count')
    value = client.get('count').to_i
    yield if tries == 1
    return tries if client.multi { |m| m.set('count', value + 1) }
  end
end

test('counting by watch') do
  20.times { same(add_one(one) { same(add_one(two) {}, 1) }, 2) }
  same(r.get('count'), '40')
end

test('error in a transaction') do
  refused('not an integer') do
    r.multi do |m|
      m.set('x1', 1)
      m.incr('key')
      m.set('x2', 2)
    end
  end
  same(r.mget('x1', 'x2'), %w[1 2])
end

test('subscribe') do
  heard = []
  one.subscribe('news') do |on|
    on.subscribe { 100.times { |i| same(r.publish('news', i), 1) } }
    on.message do |_, message|
      heard << message
      one.unsubscribe('news') if heard.length == 100
    end
  end
  same(heard, (0...100).map(&:to_s))
  same(r.publish('news', 'x'), 0)
  same(one.get('count'), '40')
end

test('subscribe to a pattern') do
  heard = []
  one.psubscribe('n?ws.*') do |on|
    on.psubscribe do
      r.publish('other', 'x')
      r.publish('news.one', odd)
    end
    on.pmessage do |pattern, channel, message|
      heard << [pattern, channel, message.b]
      one.punsubscribe('n?ws.*')
    end
  end
  same(heard, [['n?ws.*', 'news.one', odd]])
end

test('restart') do
  r.set('kept', 'through the restart')
  puts 'restart'
  $stdin.gets
  wait_until do
    r.ping
  rescue Redis::BaseError # also LOADING, which is none of the connection
    false
  end
  same([r.get('kept'), r.call('CLIENT', 'INFO').include?(' db=3 ')], ['through the restart', true])
end

test('resp3') { ' # SKIP the library speaks RESP2 only' }
