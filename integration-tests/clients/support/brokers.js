/** Real STOMP brokers with configurations of the test's own. Both are in Debian; a missing one is an error. */

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closedPort, connects } from '../../browser/support/backends.js';
import { Process } from '../../browser/support/process.js';
import { until } from '../../browser/support/wait.js';

/** Erlang and Java start slowly where many things run. */
const START_MS = 90_000;

class Broker {
  #process;
  #folder;
  #cleanUp;

  /** @param {string} name @param {Process} running @param {string} folder @param {number} port @param {() => void} [cleanUp] */
  constructor(name, running, folder, port, cleanUp = () => {}) {
    this.name = name;
    this.#process = running;
    this.#folder = folder;
    this.port = port;
    this.#cleanUp = cleanUp;
  }

  get address() {
    return `127.0.0.1:${this.port}`;
  }

  async listens() {
    try {
      await until(`${this.name} listens`, () => {
        if (this.#process.exit) throw new Error(`${this.name} ended: ${this.#process.output}`);
        return connects(this.port);
      }, START_MS);
    } catch (error) {
      await this.stop();
      throw error;
    }
    return this;
  }

  async stop() {
    await this.#process.stop();
    this.#cleanUp();
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** RabbitMQ with its plugins for STOMP and MQTT, and one user. @param {string} user @param {string} password */
export async function rabbitmq(user, password) {
  const lib = '/usr/lib/rabbitmq/lib';
  const home = existsSync(lib) && readdirSync(lib).find((name) => name.startsWith('rabbitmq_server-'));
  if (!home) throw new Error('rabbitmq-server is not installed; run scripts/need test');
  const folder = await mkdtemp(join(tmpdir(), 'perigee-rabbitmq-'));
  const [port, mqtt, amqp, distribution, epmd] = await Promise.all([closedPort(), closedPort(), closedPort(), closedPort(), closedPort()]);
  await mkdir(join(folder, 'mnesia'));
  await writeFile(join(folder, 'rabbitmq.conf'), `
listeners.tcp.1 = 127.0.0.1:${amqp}
stomp.listeners.tcp.1 = 127.0.0.1:${port}
mqtt.listeners.tcp.1 = 127.0.0.1:${mqtt}
default_user = ${user}
default_pass = ${password}
log.console = true
log.console.level = warning
`);
  await writeFile(join(folder, 'enabled_plugins'), '[rabbitmq_stomp, rabbitmq_mqtt].');
  const env = {
    HOME: folder,
    RABBITMQ_NODENAME: `perigee-${port}@localhost`,
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'),
    RABBITMQ_LOG_BASE: join(folder, 'log'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
    RABBITMQ_DIST_PORT: `${distribution}`,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: `${epmd}`,
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1} -setcookie perigee',
  };
  const running = new Process(join(lib, home, 'sbin/rabbitmq-server'), [], env);
  // The port mapper of this broker, on a port of its own, outlives it.
  const cleanUp = () => void spawnSync('epmd', ['-kill'], { env: { ...process.env, ERL_EPMD_PORT: `${epmd}` } });
  const broker = await new Broker('rabbitmq', running, folder, port, cleanUp).listens();
  // Its plugins start one after the other.
  await until('it speaks MQTT', () => connects(mqtt), START_MS);
  return Object.assign(broker, { mqtt: `127.0.0.1:${mqtt}` });
}

/** ActiveMQ with one user. @param {string} user @param {string} password */
export async function activemq(user, password) {
  const jar = '/usr/share/activemq/bin/activemq.jar';
  if (!existsSync(jar)) throw new Error('activemq is not installed; run scripts/need test');
  const folder = await mkdtemp(join(tmpdir(), 'perigee-activemq-'));
  const port = await closedPort();
  const file = join(folder, 'activemq.xml');
  await writeFile(file, `
<beans xmlns="http://www.springframework.org/schema/beans" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans.xsd http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
 <broker xmlns="http://activemq.apache.org/schema/core" brokerName="test" dataDirectory="${folder}/data" persistent="false" useJmx="false" schedulerSupport="false">
  <plugins><simpleAuthenticationPlugin><users>
   <authenticationUser username="${user}" password="${password}" groups="users"/>
  </users></simpleAuthenticationPlugin></plugins>
  <transportConnectors><transportConnector name="stomp" uri="stomp://127.0.0.1:${port}?transport.closeAsync=false"/></transportConnectors>
 </broker>
</beans>
`);
  const running = new Process('java', [
    '-Xmx256m', '-XX:TieredStopAtLevel=1',
    '-Dactivemq.home=/usr/share/activemq', `-Dactivemq.base=${folder}`, `-Dactivemq.data=${folder}/data`,
    '-jar', jar, 'start', `xbean:file:${file}`,
  ]);
  return new Broker('activemq', running, folder, port).listens();
}
