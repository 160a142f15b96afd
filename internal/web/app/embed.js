// What other sites frame begins here.
export {};
