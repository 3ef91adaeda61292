// SockJS to TCP as one would write it with sockjs-node: node sockjs.mjs PORT BACKEND_PORT
import { createServer } from 'node:http';
import { connect } from 'node:net';
import sockjs from 'sockjs';

const [port, backend] = process.argv.slice(2).map(Number);
const bridge = sockjs.createServer({ log() {} });

bridge.on('connection', (client) => {
  const socket = connect({ host: '127.0.0.1', port: backend, noDelay: true });
  socket.setEncoding('latin1');
  client.on('data', (text) => socket.write(text, 'latin1'));
  client.on('close', () => socket.destroy());
  socket.on('data', (text) => client.write(text));
  socket.on('close', () => client.close());
  socket.on('error', () => client.close());
});

// As behind a proxy, which keeps its connections.
const server = createServer({ keepAliveTimeout: 65_000 });
bridge.installHandlers(server, { prefix: '/tunnel' });
server.listen(port, '127.0.0.1');
