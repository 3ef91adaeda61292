// WebSocket to TCP as one would write it with `ws`: node ws.mjs PORT BACKEND_PORT
import { connect } from 'node:net';
import { WebSocketServer } from 'ws';

const [port, backend] = process.argv.slice(2).map(Number);

new WebSocketServer({ host: '127.0.0.1', port, perMessageDeflate: false }).on('connection', (client) => {
  const socket = connect({ host: '127.0.0.1', port: backend, noDelay: true });
  client.on('message', (data) => socket.write(data));
  client.on('close', () => socket.destroy());
  client.on('error', () => socket.destroy());
  socket.on('data', (data) => client.send(data));
  socket.on('close', () => client.close());
  socket.on('error', () => client.close());
});
